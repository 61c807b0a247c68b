"""What a world is, in memory (`world`) and on disk: a directory with two networks, real starts, settings and a card.

tokenizer.safetensors    world_model.safetensors    starts.safetensors    config.json
road.safetensors         decoder.safetensors, encoder.safetensors and other heads, all named in config.json
clips.npz                a few real held-out clips                             card.md, report.json
"""
