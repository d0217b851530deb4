"""The works that the named rules are from, as BibTeX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracetorch.rules.presets import PRESETS
from tracetorch.rules.rule import Rule


@dataclass(frozen=True)
class Work:
    """A published work.

    Args:
        key: BibTeX key.
        authors: as BibTeX has them, joined by `and`.
        title: the title.
        year: of publication.
        where: BibTeX type and the field and name of where it appeared; `("misc", "", "")` for a preprint alone.
        link: its address.
    """

    key: str
    authors: str
    title: str
    year: int
    where: tuple[str, str, str]
    link: str

    def bibtex(self) -> str:
        """Return the entry."""
        kind, name, place = self.where
        fields = {"author": self.authors, "title": f"{{{self.title}}}", "year": str(self.year)}
        fields |= {name: place} if name else {}
        rows = [f"  {field} = {{{value}}}" for field, value in (fields | {"url": self.link}).items()]
        return f"@{kind}{{{self.key},\n" + ",\n".join(rows) + "\n}"


def _article(key: str, authors: str, title: str, year: int, journal: str, link: str) -> Work:
    return Work(key, authors, title, year, ("article", "journal", journal), link)


def _preprint(key: str, authors: str, title: str, year: int, number: str) -> Work:
    return Work(key, authors, title, year, ("misc", "note", f"arXiv:{number}"), f"https://arxiv.org/abs/{number}")


_ZIPSER = _article(
    "williams1989learning",
    "Williams, Ronald J. and Zipser, David",
    "A Learning Algorithm for Continually Running Fully Recurrent Neural Networks",
    1989,
    "Neural Computation",
    "https://doi.org/10.1162/neco.1989.1.2.270",
)
_ZUCCHET = _preprint(
    "zucchet2023online",
    "Zucchet, Nicolas and Meier, Robert and Schug, Simon and Mujika, Asier and Sacramento, Jo{\\~a}o",
    "Online learning of long-range dependencies",
    2023,
    "2305.15947",
)
_BELLEC = _article(
    "bellec2020solution",
    "Bellec, Guillaume and Scherr, Franz and Subramoney, Anand and Hajek, Elias and Salaj, Darjan and Legenstein, "
    "Robert and Maass, Wolfgang",
    "A solution to the learning dilemma for recurrent networks of spiking neurons",
    2020,
    "Nature Communications",
    "https://doi.org/10.1038/s41467-020-17236-y",
)
_SUMME = _preprint(
    "summe2023estimating",
    "Summe, Thomas and Schaefer, Clemens JS and Joshi, Siddharth",
    "Estimating Post-Synaptic Effects for Online Training of Feed-Forward SNNs",
    2023,
    "2311.16151",
)

WORKS: dict[str, tuple[Work, ...]] = {
    "bptt": (
        _article(
            "werbos1990backpropagation",
            "Werbos, Paul J.",
            "Backpropagation through time: what it does and how to do it",
            1990,
            "Proceedings of the IEEE",
            "https://doi.org/10.1109/5.58337",
        ),
    ),
    "tbptt": (
        _article(
            "williams1990efficient",
            "Williams, Ronald J. and Peng, Jing",
            "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories",
            1990,
            "Neural Computation",
            "https://doi.org/10.1162/neco.1990.2.4.490",
        ),
    ),
    "sltt": (
        _preprint(
            "meng2023towards",
            "Meng, Qingyan and Xiao, Mingqing and Yan, Shen and Wang, Yisen and Lin, Zhouchen and Luo, Zhi-Quan",
            "Towards Memory- and Time-Efficient Backpropagation for Training Spiking Neural Networks",
            2023,
            "2302.14311",
        ),
    ),
    "ottt": (
        _preprint(
            "xiao2022online",
            "Xiao, Mingqing and Meng, Qingyan and Zhang, Zongpeng and He, Di and Lin, Zhouchen",
            "Online Training Through Time for Spiking Neural Networks",
            2022,
            "2210.04195",
        ),
    ),
    "rate": (
        _preprint(
            "meng2022training",
            "Meng, Qingyan and Xiao, Mingqing and Yan, Shen and Wang, Yisen and Lin, Zhouchen and Luo, Zhi-Quan",
            "Training High-Performance Low-Latency Spiking Neural Networks by Differentiation on Spike Representation",
            2022,
            "2205.00459",
        ),
    ),
    "s_tllr": (
        _preprint(
            "apolinario2023stllr",
            "Apolinario, Marco Paul E. and Roy, Kaushik",
            "S-TLLR: STDP-inspired Temporal Local Learning Rule for Spiking Neural Networks",
            2023,
            "2306.15220",
        ),
    ),
    "cascade": (
        _SUMME,
        _preprint(
            "millidge2025generalising", "Millidge, Beren", "Generalising E-prop to Deep Networks", 2025, "2512.24506"
        ),
    ),
    "otpe": (_SUMME,),
    "eprop": (_BELLEC,),
    "drtrl": (_ZIPSER, _ZUCCHET),
    "rtrl": (_ZIPSER,),
    "ostl": (
        _preprint(
            "bohnstingl2020online",
            "Bohnstingl, Thomas and Wo{\\'z}niak, Stanis{\\l}aw and Maass, Wolfgang and Pantazi, Angeliki and "
            "Eleftheriou, Evangelos",
            "Online Spatio-Temporal Learning in Deep Neural Networks",
            2020,
            "2007.12723",
        ),
    ),
    "snap1": (
        _preprint(
            "menick2020practical",
            "Menick, Jacob and Elsen, Erich and Evci, Utku and Osindero, Simon and Simonyan, Karen and Graves, Alex",
            "A Practical Sparse Approximation for Real Time Recurrent Learning",
            2020,
            "2006.07232",
        ),
    ),
    "rflo": (
        _article(
            "murray2019local",
            "Murray, James M.",
            "Local online learning in recurrent networks with random feedback",
            2019,
            "eLife",
            "https://doi.org/10.7554/eLife.43299",
        ),
    ),
    "pp_prop": (
        Work(
            "wang2024model",
            "Wang, Chaoming and others",
            "Model-agnostic linear-memory online learning in spiking neural networks",
            2024,
            ("misc", "note", "bioRxiv 2024.09.24.614728"),
            "https://doi.org/10.1101/2024.09.24.614728",
        ),
    ),
    "stdp": (
        _article(
            "bi1998synaptic",
            "Bi, Guo-qiang and Poo, Mu-ming",
            "Synaptic Modifications in Cultured Hippocampal Neurons: Dependence on Spike Timing, Synaptic Strength, "
            "and Postsynaptic Cell Type",
            1998,
            "Journal of Neuroscience",
            "https://doi.org/10.1523/JNEUROSCI.18-24-10464.1998",
        ),
        _article(
            "song2000competitive",
            "Song, Sen and Miller, Kenneth D. and Abbott, L. F.",
            "Competitive Hebbian learning through spike-timing-dependent synaptic plasticity",
            2000,
            "Nature Neuroscience",
            "https://doi.org/10.1038/78829",
        ),
    ),
    "triplet_stdp": (
        _article(
            "pfister2006triplets",
            "Pfister, Jean-Pascal and Gerstner, Wulfram",
            "Triplets of Spikes in a Model of Spike Timing-Dependent Plasticity",
            2006,
            "Journal of Neuroscience",
            "https://doi.org/10.1523/JNEUROSCI.1425-06.2006",
        ),
    ),
    "uoro": (
        _preprint(
            "tallec2018unbiased",
            "Tallec, Corentin and Ollivier, Yann",
            "Unbiased Online Recurrent Optimization",
            2018,
            "1702.05043",
        ),
    ),
    "DirectFeedback": (
        _preprint(
            "nokland2016direct",
            "N{\\o}kland, Arild",
            "Direct Feedback Alignment Provides Learning in Deep Neural Networks",
            2016,
            "1609.01596",
        ),
    ),
    "TargetProjection": (
        _article(
            "frenkel2021learning",
            "Frenkel, Charlotte and Lefebvre, Martin and Bol, David",
            "Learning Without Feedback: Fixed Random Learning Signals Allow for Feedforward Training of Deep Neural "
            "Networks",
            2021,
            "Frontiers in Neuroscience",
            "https://doi.org/10.3389/fnins.2021.629892",
        ),
    ),
    "LocalReadouts": (
        _article(
            "kaiser2020synaptic",
            "Kaiser, Jacques and Mostafa, Hesham and Neftci, Emre",
            "Synaptic Plasticity Dynamics for Deep Continuous Local Learning (DECOLLE)",
            2020,
            "Frontiers in Neuroscience",
            "https://doi.org/10.3389/fnins.2020.00424",
        ),
    ),
    "trace": (),
    "traced_bptt": (),
}
"""The works of each preset and learning signal, by its name; none for a rule that is this library's own."""


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
          year = {2023},
          note = {arXiv:2311.16151},
          url = {https://arxiv.org/abs/2311.16151}
        }
    """
    name = rule.name if isinstance(rule, Rule) else rule if isinstance(rule, str) else rule.__name__
    if name not in WORKS:
        raise ValueError(f"no rule is named {name!r}; the named rules are {', '.join(sorted(PRESETS))}")
    return "\n\n".join(work.bibtex() for work in WORKS[name])
