"""Exported systems: `dsacap export` writes a folder, `dsacap caption` and `dsacap.load` read it.

The folder is self-contained and can be copied to another machine:

index.json              size and hash of every file that is read; checked before a file is used
model.json              captioner, sizes, decodings, encoder (description.py)
vocabulary.json         the words of its captions, the special ones first
captioner.safetensors   the captioner's weights
statistics.safetensors  mean and standard deviation of the encoder's channels over the train split
encoder...              the image encoder's weights, unless open_clip has them by tag (encoders.py)
memory.safetensors      what the system looks up in the train split, if anything
manifest.json           how all this was made: the manifests of all stages
README.md               the model card (card.py)

Nothing in it is code or a pickle, and no name in it leads out of the folder.
"""
