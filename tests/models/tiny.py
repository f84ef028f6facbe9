"""Diffusers folders of tiny networks with random weights, saved by diffusers itself: stand-ins for what users have."""

import string

import torch


def _words(config, encoder):
    """A tokenizer of single letters and an encoder for it."""
    from transformers import T5TokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    tokenizer = T5TokenizerFast(
        vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0
    )
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 1, "num_heads": 2}
    return tokenizer, encoder(config(vocab_size=len(pieces), **sizes)).eval()


def wan(folder, *, each=False, flow_shift=3.0, shift=1.0):
    """each: with a time for each token, as TI2V-5B."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    codec = AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )  # fmt: skip
    network = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16,
        out_channels=16, text_dim=32, freq_dim=256, ffn_dim=32, num_layers=2, rope_max_seq_len=32,
    )  # fmt: skip
    tokenizer, encoder = _words(UMT5Config, UMT5EncoderModel)
    schedule = FlowMatchEulerDiscreteScheduler(shift=shift)
    pipe = WanPipeline(tokenizer, encoder, codec, schedule, network, expand_timesteps=each)
    pipe.save_pretrained(folder)


def wan_each(folder):
    wan(folder, each=True)


def ltx(folder):
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    scaling = (True, True, False, False)
    codec = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=scaling, decoder_spatio_temporal_scaling=scaling,
        decoder_inject_noise=(False,) * 5, upsample_residual=(False,) * 4, upsample_factor=(1,) * 4,
        timestep_conditioning=False, patch_size=1, patch_size_t=1, encoder_causal=True,
        decoder_causal=False,
    )  # fmt: skip
    codec.latents_mean += torch.randn(8)
    codec.latents_std *= 1.5
    network = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=4, attention_head_dim=8,
        cross_attention_dim=32, num_layers=2, caption_channels=32,
    )  # fmt: skip
    tokenizer, encoder = _words(T5Config, T5EncoderModel)
    schedule = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_image_seq_len=1024, max_image_seq_len=4096,
        base_shift=0.95, max_shift=2.05,
    )  # fmt: skip
    LTXPipeline(schedule, codec, encoder, tokenizer, network).save_pretrained(folder)


def cogvideox(folder, *, rotary=True):
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    codec = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )  # fmt: skip
    network = CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4,
        time_embed_dim=2, text_embed_dim=32, num_layers=2, sample_width=4, sample_height=4,
        sample_frames=25, max_text_seq_length=16, use_rotary_positional_embeddings=rotary,
    )  # fmt: skip
    tokenizer, encoder = _words(T5Config, T5EncoderModel)
    schedule = CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
        snr_shift_scale=1.0, clip_sample=False,
    )  # fmt: skip
    CogVideoXPipeline(tokenizer, encoder, codec, network, schedule).save_pretrained(folder)


FOLDERS = {"wan": wan, "wan each": wan_each, "ltx": ltx, "cogvideox": cogvideox}
"""One for every way in which the entries of FAMILIES differ."""
