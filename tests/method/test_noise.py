import torch
from diffusers import DDIMScheduler

from dsacap.method.noise import add_noise, alpha_sigma, ddim_step, shifted


def test_variance_is_preserved_and_signal_falls():
    alpha, sigma = alpha_sigma(torch.linspace(0, 1, 50))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    assert (alpha[1:] < alpha[:-1]).all() and alpha[0] == 1 and abs(alpha[-1]) < 1e-6


def test_the_true_z0_leads_back_to_it():
    z0, noise = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    t, s, zero = torch.full((3,), 0.7), torch.full((3,), 0.4), torch.zeros(3)
    z_s = ddim_step(add_noise(z0, noise, t), z0, t, s)
    torch.testing.assert_close(z_s, add_noise(z0, noise, s))
    torch.testing.assert_close(ddim_step(z_s, z0, s, zero), z0)


def test_step_equals_diffusers_scheduler():
    """From the same state and (wrong) prediction of z_0, diffusers' DDIM gives the same state."""
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="leading",
    )
    t_all = torch.arange(1, 1001) / 1000
    scheduler.alphas_cumprod = alpha_sigma(t_all)[0].flatten().square()
    scheduler.set_timesteps(10)
    z, guess = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    at, earlier = 500, 400
    expected = scheduler.step(guess, at, z, eta=0.0).prev_sample
    ours = ddim_step(z, guess, t_all[[at, at]], t_all[[earlier, earlier]])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_shifted_time_has_so_much_more_noise_for_its_signal():
    times = torch.linspace(0.1, 0.9, 9)
    for shift in (0.5, 1.0, 3.0):
        (alpha, sigma), (alpha0, sigma0) = map(alpha_sigma, (shifted(times, shift), times))
        torch.testing.assert_close(sigma / alpha, shift * sigma0 / alpha0)
    ends = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(shifted(ends, 3.0), ends)


def test_tokens_may_have_times_of_their_own():
    z0, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    times = torch.rand(2, 3)
    noised = add_noise(z0, noise, times)
    for token in range(3):
        alone = add_noise(z0[:, [token]], noise[:, [token]], times[:, token])
        torch.testing.assert_close(noised[:, [token]], alone)
