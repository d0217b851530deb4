"""The works that the named rules are from, as BibTeX."""

from __future__ import annotations

from collections.abc import Callable

from tracetorch.rules.presets import PRESETS
from tracetorch.rules.rule import Rule

_BIBTEX = r"""
@article{werbos1990backpropagation,
  author = {Werbos, Paul J.},
  title = {{Backpropagation through time: what it does and how to do it}},
  year = {1990}, journal = {Proceedings of the IEEE}, url = {https://doi.org/10.1109/5.58337}
}

@article{williams1990efficient,
  author = {Williams, Ronald J. and Peng, Jing},
  title = {{An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories}},
  year = {1990}, journal = {Neural Computation}, url = {https://doi.org/10.1162/neco.1990.2.4.490}
}

@misc{meng2023towards,
  author = {Meng, Qingyan and Xiao, Mingqing and Yan, Shen and Wang, Yisen and Lin, Zhouchen and Luo, Zhi-Quan},
  title = {{Towards Memory- and Time-Efficient Backpropagation for Training Spiking Neural Networks}},
  year = {2023}, note = {arXiv:2302.14311}, url = {https://arxiv.org/abs/2302.14311}
}

@misc{xiao2022online,
  author = {Xiao, Mingqing and Meng, Qingyan and Zhang, Zongpeng and He, Di and Lin, Zhouchen},
  title = {{Online Training Through Time for Spiking Neural Networks}},
  year = {2022}, note = {arXiv:2210.04195}, url = {https://arxiv.org/abs/2210.04195}
}

@misc{meng2022training,
  author = {Meng, Qingyan and Xiao, Mingqing and Yan, Shen and Wang, Yisen and Lin, Zhouchen and Luo, Zhi-Quan},
  title = {{Training High-Performance Low-Latency Spiking Neural Networks by Differentiation on Spike Representation}},
  year = {2022}, note = {arXiv:2205.00459}, url = {https://arxiv.org/abs/2205.00459}
}

@misc{apolinario2023stllr,
  author = {Apolinario, Marco Paul E. and Roy, Kaushik},
  title = {{S-TLLR: STDP-inspired Temporal Local Learning Rule for Spiking Neural Networks}},
  year = {2023}, note = {arXiv:2306.15220}, url = {https://arxiv.org/abs/2306.15220}
}

@misc{summe2023estimating,
  author = {Summe, Thomas and Schaefer, Clemens JS and Joshi, Siddharth},
  title = {{Estimating Post-Synaptic Effects for Online Training of Feed-Forward SNNs}},
  year = {2023}, note = {arXiv:2311.16151}, url = {https://arxiv.org/abs/2311.16151}
}

@misc{millidge2025generalising,
  author = {Millidge, Beren},
  title = {{Generalising E-prop to Deep Networks}},
  year = {2025}, note = {arXiv:2512.24506}, url = {https://arxiv.org/abs/2512.24506}
}

@article{bellec2020solution,
  author = {Bellec, Guillaume and Scherr, Franz and Subramoney, Anand and Hajek, Elias and Salaj, Darjan and
    Legenstein, Robert and Maass, Wolfgang},
  title = {{A solution to the learning dilemma for recurrent networks of spiking neurons}},
  year = {2020}, journal = {Nature Communications}, url = {https://doi.org/10.1038/s41467-020-17236-y}
}

@article{williams1989learning,
  author = {Williams, Ronald J. and Zipser, David},
  title = {{A Learning Algorithm for Continually Running Fully Recurrent Neural Networks}},
  year = {1989}, journal = {Neural Computation}, url = {https://doi.org/10.1162/neco.1989.1.2.270}
}

@misc{zucchet2023online,
  author = {Zucchet, Nicolas and Meier, Robert and Schug, Simon and Mujika, Asier and Sacramento, Jo{\~a}o},
  title = {{Online learning of long-range dependencies}},
  year = {2023}, note = {arXiv:2305.15947}, url = {https://arxiv.org/abs/2305.15947}
}

@misc{bohnstingl2020online,
  author = {Bohnstingl, Thomas and Wo{\'z}niak, Stanis{\l}aw and Maass, Wolfgang and Pantazi, Angeliki and
    Eleftheriou, Evangelos},
  title = {{Online Spatio-Temporal Learning in Deep Neural Networks}},
  year = {2020}, note = {arXiv:2007.12723}, url = {https://arxiv.org/abs/2007.12723}
}

@misc{menick2020practical,
  author = {Menick, Jacob and Elsen, Erich and Evci, Utku and Osindero, Simon and Simonyan, Karen and Graves, Alex},
  title = {{A Practical Sparse Approximation for Real Time Recurrent Learning}},
  year = {2020}, note = {arXiv:2006.07232}, url = {https://arxiv.org/abs/2006.07232}
}

@article{murray2019local,
  author = {Murray, James M.},
  title = {{Local online learning in recurrent networks with random feedback}},
  year = {2019}, journal = {eLife}, url = {https://doi.org/10.7554/eLife.43299}
}

@misc{wang2024model,
  author = {Wang, Chaoming and others},
  title = {{Model-agnostic linear-memory online learning in spiking neural networks}},
  year = {2024}, note = {bioRxiv 2024.09.24.614728}, url = {https://doi.org/10.1101/2024.09.24.614728}
}

@article{bi1998synaptic,
  author = {Bi, Guo-qiang and Poo, Mu-ming},
  title = {{Synaptic Modifications in Cultured Hippocampal Neurons: Dependence on Spike Timing, Synaptic Strength,
    and Postsynaptic Cell Type}},
  year = {1998}, journal = {Journal of Neuroscience}, url = {https://doi.org/10.1523/JNEUROSCI.18-24-10464.1998}
}

@article{song2000competitive,
  author = {Song, Sen and Miller, Kenneth D. and Abbott, L. F.},
  title = {{Competitive Hebbian learning through spike-timing-dependent synaptic plasticity}},
  year = {2000}, journal = {Nature Neuroscience}, url = {https://doi.org/10.1038/78829}
}

@article{pfister2006triplets,
  author = {Pfister, Jean-Pascal and Gerstner, Wulfram},
  title = {{Triplets of Spikes in a Model of Spike Timing-Dependent Plasticity}},
  year = {2006}, journal = {Journal of Neuroscience}, url = {https://doi.org/10.1523/JNEUROSCI.1425-06.2006}
}

@misc{tallec2018unbiased,
  author = {Tallec, Corentin and Ollivier, Yann},
  title = {{Unbiased Online Recurrent Optimization}},
  year = {2018}, note = {arXiv:1702.05043}, url = {https://arxiv.org/abs/1702.05043}
}

@misc{nokland2016direct,
  author = {N{\o}kland, Arild},
  title = {{Direct Feedback Alignment Provides Learning in Deep Neural Networks}},
  year = {2016}, note = {arXiv:1609.01596}, url = {https://arxiv.org/abs/1609.01596}
}

@article{frenkel2021learning,
  author = {Frenkel, Charlotte and Lefebvre, Martin and Bol, David},
  title = {{Learning Without Feedback: Fixed Random Learning Signals Allow for Feedforward Training of Deep Neural
    Networks}},
  year = {2021}, journal = {Frontiers in Neuroscience}, url = {https://doi.org/10.3389/fnins.2021.629892}
}

@article{kaiser2020synaptic,
  author = {Kaiser, Jacques and Mostafa, Hesham and Neftci, Emre},
  title = {{Synaptic Plasticity Dynamics for Deep Continuous Local Learning (DECOLLE)}},
  year = {2020}, journal = {Frontiers in Neuroscience}, url = {https://doi.org/10.3389/fnins.2020.00424}
}
"""
_ENTRIES = {entry.partition("{")[2].partition(",")[0]: entry for entry in _BIBTEX.strip().split("\n\n")}

WORKS: dict[str, tuple[str, ...]] = {
    "bptt": ("werbos1990backpropagation",),
    "tbptt": ("williams1990efficient",),
    "sltt": ("meng2023towards",),
    "ottt": ("xiao2022online",),
    "rate": ("meng2022training",),
    "s_tllr": ("apolinario2023stllr",),
    "cascade": ("summe2023estimating", "millidge2025generalising"),
    "otpe": ("summe2023estimating",),
    "eprop": ("bellec2020solution",),
    "drtrl": ("williams1989learning", "zucchet2023online"),
    "rtrl": ("williams1989learning",),
    "ostl": ("bohnstingl2020online",),
    "snap1": ("menick2020practical",),
    "rflo": ("murray2019local",),
    "pp_prop": ("wang2024model",),
    "stdp": ("bi1998synaptic", "song2000competitive"),
    "triplet_stdp": ("pfister2006triplets",),
    "uoro": ("tallec2018unbiased",),
    "DirectFeedback": ("nokland2016direct",),
    "TargetProjection": ("frenkel2021learning",),
    "LocalReadouts": ("kaiser2020synaptic",),
    "trace": (),
    "traced_bptt": (),
}
"""Keys of the works of each preset and learning signal, by its name; none for a rule that is this library's own."""


def citation(rule: Rule | str | Callable[..., object]) -> str:
    """Return the works that a rule or a learning signal is from, as BibTeX.

    Args:
        rule: a rule, a preset, a module such as `tt.TargetProjection`, or the name of one.

    Returns:
        The entries, with an empty line between them; empty for a rule that is this library's own.

    Raises:
        ValueError: if none has that name.

    Example:
        >>> import tracetorch as tt
        >>> print(tt.citation(tt.rules.otpe()))
        @misc{summe2023estimating,
          author = {Summe, Thomas and Schaefer, Clemens JS and Joshi, Siddharth},
          title = {{Estimating Post-Synaptic Effects for Online Training of Feed-Forward SNNs}},
          year = {2023}, note = {arXiv:2311.16151}, url = {https://arxiv.org/abs/2311.16151}
        }
    """
    name = rule.name if isinstance(rule, Rule) else rule if isinstance(rule, str) else rule.__name__
    if name not in WORKS:
        raise ValueError(f"no rule is named {name!r}; the named rules are {', '.join(sorted(PRESETS))}")
    return "\n\n".join(_ENTRIES[key] for key in WORKS[name])
