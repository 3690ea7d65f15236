"""The peak rates of GPUs as their maker publishes them, in operations per second.

`bf16` is that of the tensor cores without sparsity, and `fp32` that of the other cores, which
compute fp32 products while TF32 is off.
"""

_H100 = "NVIDIA H100 Tensor Core GPU data sheet; bf16 is half of the rate with sparsity"
_ADA = "NVIDIA {} Tensor Core GPU data sheet; bf16 is half of the rate with sparsity"
# Words of torch's name of the device -> (bf16 and fp32 in TFLOP/s, source). The first that fits.
_PEAKS = {
    "H200 NVL": (835.5, 60.0, _H100.replace("H100", "H200")),
    "H200": (989.5, 67.0, _H100.replace("H100", "H200")),
    "H100 PCIe": (756.5, 51.0, _H100),
    "H100 NVL": (835.5, 60.0, _H100),
    "H100": (989.5, 67.0, _H100),
    "A100": (312.0, 19.5, "NVIDIA A100 Tensor Core GPU data sheet"),
    "A10": (125.0, 31.2, "NVIDIA A10 Tensor Core GPU data sheet"),
    "L40S": (362.0, 91.6, _ADA.format("L40S")),
    "L4": (121.0, 30.3, _ADA.format("L4")),
}


def published_peak(device_name: str) -> dict | None:
    """Return the published peak of a device.

    Args:
        device_name: The name of the device, as torch reports it.

    Returns:
        `bf16` and `fp32` in operations per second, and `source`; None for a device that is not in
        the table.
    """
    words = device_name.split()
    for name, (bf16, fp32, source) in _PEAKS.items():
        first, *rest = name.split()
        if any(word.split("-")[0] == first for word in words) and all(
            part in device_name for part in rest
        ):
            return {"bf16": bf16 * 1e12, "fp32": fp32 * 1e12, "source": source}
    return None
