"""What the paper prints of the comparison: Tables 1 and 2. Figure 4 is a plot, whose numbers are not in the text."""

COLUMNS = ("flam", "adaworld", "genie", "world-model", "playslot", "slotformer", "recon")
ROWS = ("psnr", "ssim", "lpips", "fvd")

_PRINTED = {
    "multigrid": """
        56.5 24.0 33.9 56.1 56.5 24.9 56.5
        0.944 0.909 0.933 0.943 0.944 0.912 0.944
        3e-4 0.08 0.014 6e-4 3e-4 0.056 3e-4
        2.9 913.6 177.5 5.5 2.9 451.6 2.5""",
    "bigfish": """
        30.8 30.3 28.5 23.9 26.0 19.6 34.4
        0.983 0.982 0.974 0.949 0.962 0.934 0.992
        0.011 0.012 0.021 0.049 0.038 0.221 0.004
        63.6 63.3 106.5 168.9 227.4 1455 16.8""",
    "leaper": """
        38.1 23.3 35.0 24.7 27.5 21.4 40.3
        0.976 0.924 0.973 0.924 0.945 0.913 0.977
        0.002 0.072 0.005 0.044 0.031 0.164 0.001
        12.1 348.1 27.3 127.3 361.5 1151 6.27""",
    "starpilot": """
        29.3 27.8 27.0 25.8 18.3 19.8 32.6
        0.971 0.965 0.962 0.959 0.886 0.907 0.980
        0.015 0.023 0.028 0.040 0.187 0.166 0.006
        73.4 113.4 141.0 194.9 792.0 720.9 24.7""",
}

TABLE_1 = {
    data: {
        method: dict(zip(ROWS, cells, strict=True))
        for method, *cells in zip(COLUMNS, *(line.split() for line in printed.split("\n")[1:]), strict=True)
    }
    for data, printed in _PRINTED.items()
}
"""Cells by data set, method and metric."""

DCI = ("disentanglement", "completeness", "informativeness")
TABLE_2 = {
    method: dict(zip(DCI, cells, strict=True))
    for method, cells in {
        "flam": ("0.91", "0.91", "0.93"),
        "playslot": ("0.81", "0.81", "0.86"),
        "slotformer": ("0.85", "0.85", "0.90"),
        "random": ("0.32", "0.30", "0.10"),
    }.items()
}
"""Cells by method and measure."""

FIGURE_4 = "As agents become more, FLAM stays far better than a model with one latent action (C.1, Figure 4, a plot)."
