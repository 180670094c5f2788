"""Objects that do not overlap (section 6.2 of the paper, Table 2).

    python -m experiments.overlap --config=configs/mnist3.py
    python -m experiments.overlap --config=configs/mnist3.py:air,quick --workdir=runs/try

From here the data flows (command.py): config -> scenes -> posterior -> prior and rendering ->
objective -> training steps -> loop -> metrics -> figures.
"""

from absl import app

from experiments import command

# Table 2: mean and standard deviation over 3 runs of 300 epochs.
PAPER = {
    ("mnist3", "air"): {"nelbo": "328.5 ± 17.1", "se": "37.5 ± 3.8", "miou": "0.25 ± 0.03"},
    ("mnist3", "pprior"): {"nelbo": "306.6 ± 58.8", "se": "41.5 ± 15.4", "miou": "0.35 ± 0.10"},
    ("mnist3", "asr"): {"nelbo": "337.3 ± 55.1", "se": "36.5 ± 3.9", "miou": "0.67 ± 0.05"},
    ("dsprites3", "air"): {"nelbo": "341.5 ± 76.5", "se": "34.8 ± 8.9", "miou": "0.13 ± 0.05"},
    ("dsprites3", "pprior"): {"nelbo": "274.3 ± 64.4", "se": "29.3 ± 12.1", "miou": "0.21 ± 0.13"},
    ("dsprites3", "asr"): {"nelbo": "271.8 ± 18.8", "se": "20.9 ± 2.1", "miou": "0.61 ± 0.03"},
}

if __name__ == "__main__":
    app.run(lambda _: command.run(PAPER))
