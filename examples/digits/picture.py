"""The demo's picture: accuracy over the two parameters, as a heat map."""

from __future__ import annotations

from typing import NamedTuple

Cell = tuple[float, float]


class Landscape(NamedTuple):
    """Mean accuracy, from 0 to 1, over a grid.

    Attributes:
        gammas: the columns, from the smallest to the largest.
        cs: the rows, likewise.
        accuracy: by (gamma, c).
    """

    gammas: list[float]
    cs: list[float]
    accuracy: dict[Cell, float]

    @property
    def best(self) -> Cell:
        """The cell with the highest accuracy; the first of equals."""
        return max(self.accuracy, key=lambda cell: self.accuracy[cell])


def draw(land: Landscape, path: str, caption: str, killed: Cell) -> None:
    """Write the picture as PNG.

    Args:
        land: what to draw.
        path: of the file.
        caption: to stand below the picture.
        killed: the cell whose run was cut short, and run again.
    """
    import matplotlib as mpl

    # The picture is the same whatever screen or settings there are
    mpl.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    columns, rows = len(land.gammas), len(land.cs)
    figure, axes = plt.subplots(
        figsize=(2.6 + 1.0 * columns, 2.6 + 0.72 * rows), dpi=150, layout="constrained"
    )
    values = [[land.accuracy[gamma, c] for gamma in land.gammas] for c in land.cs]
    image = axes.imshow(values, origin="lower", cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            axes.text(
                column,
                row,
                f"{value:.3f}",
                ha="center",
                va="center",
                fontsize=10,
                color="black" if value > 0.6 else "white",
            )
    marks = []
    for cell, colour, style, inset, label in (
        (land.best, "crimson", "solid", 0.0, f"best: {land.accuracy[land.best]:.3f}"),
        (killed, "black", "dashed", 0.07, "a minion was killed here"),
    ):
        column, row = land.gammas.index(cell[0]), land.cs.index(cell[1])
        corner = (column - 0.5 + inset, row - 0.5 + inset)
        side = 1 - 2 * inset
        marks.append(
            axes.add_patch(
                Rectangle(
                    corner,
                    side,
                    side,
                    fill=False,
                    edgecolor=colour,
                    linestyle=style,
                    linewidth=2.5,
                    clip_on=False,
                    label=label,
                )
            )
        )
    axes.set_xticks(range(columns), [f"{gamma:.2g}" for gamma in land.gammas])
    axes.set_yticks(range(rows), [f"{c:g}" for c in land.cs])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("gamma (how local a support vector's influence is)")
    axes.set_ylabel("C (how much an error costs)")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr,call-arg]
    figure.suptitle("Handwritten digits read rightly by a support vector classifier", fontsize=13)
    axes.legend(
        handles=marks, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9
    )
    bar = figure.colorbar(image, ax=axes, label="accuracy on unseen digits", pad=0.02)
    bar.outline.set_visible(False)
    figure.supxlabel(caption, fontsize=9, color="dimgray")
    figure.savefig(path)
    plt.close(figure)
