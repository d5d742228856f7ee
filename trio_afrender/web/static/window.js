/** Which rows of a long list are on the screen. Only these have elements. */

const SPARE = 6; // rows above and below, so that a quick scroll shows no gap

/**
 * Call `draw(first, end)` for the rows of `host` that can be seen in `scroller`, again whenever
 * that changes. `host` gets the height of all rows.
 */
export class RowWindow {
  constructor(scroller, host, rowHeight, draw) {
    this.scroller = scroller;
    this.host = host;
    this.rowHeight = rowHeight;
    this.draw = draw;
    this.total = 0;
    this.first = 0;
    this.end = 0;
    this.asked = 0;
    this.onScroll = () => this.ask();
    scroller.addEventListener("scroll", this.onScroll, { passive: true });
    this.observer = new ResizeObserver(this.onScroll);
    this.observer.observe(scroller);
    this.observer.observe(host);
  }

  setTotal(total) {
    this.total = total;
    this.host.style.height = `${total * this.rowHeight}px`;
    this.ask();
  }

  setRowHeight(height) {
    if (height === this.rowHeight) return;
    this.rowHeight = height;
    this.setTotal(this.total);
  }

  /** Draw with the next frame of the screen. */
  ask() {
    if (!this.asked) this.asked = requestAnimationFrame(() => this.now());
  }

  /** Draw at once. */
  now() {
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    if (!this.host.isConnected) return;
    const top = this.scroller.getBoundingClientRect().top - this.host.getBoundingClientRect().top;
    const first = Math.floor(top / this.rowHeight) - SPARE;
    const end = Math.ceil((top + this.scroller.clientHeight) / this.rowHeight) + SPARE;
    this.first = Math.min(Math.max(0, first), this.total);
    this.end = Math.min(Math.max(this.first, end), this.total);
    this.draw(this.first, this.end);
  }

  /** Scroll so that a row can be seen below what sticks to the top; with `middle` amid others. */
  reveal(row, covered = 0, middle = false) {
    const top = this.host.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top
      + row * this.rowHeight;
    const below = top + this.rowHeight - this.scroller.clientHeight;
    if (middle && (top < covered || below > 0)) this.scroller.scrollTop += top - this.scroller.clientHeight / 2;
    else if (top < covered) this.scroller.scrollTop += top - covered;
    else if (below > 0) this.scroller.scrollTop += below;
    this.now();
  }

  close() {
    cancelAnimationFrame(this.asked);
    this.scroller.removeEventListener("scroll", this.onScroll);
    this.observer.disconnect();
  }
}
