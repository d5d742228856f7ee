/** Text of terminals: colours as classes, everything else of the control sequences left out. */

const SEQUENCE =
  /\u001b\[([0-9;:]*)m|\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]{0,4096}(?:\u0007|\u001b\\)|\u001b[ -/]*[0-~]/g;

/** Make the state that goes from line to line. */
export const plain = () => ({ fore: -1, back: -1, bold: false, faint: false, italic: false,
  under: false, inverse: false, strike: false });

/**
 * Split a line into pieces `[text, classes]`. `state` is changed: colours last over ends of lines.
 * The text still has other control characters: who shows it makes them visible.
 */
export function pieces(line, state) {
  const found = [];
  let from = 0;
  SEQUENCE.lastIndex = 0;
  for (let match; (match = SEQUENCE.exec(line)); from = SEQUENCE.lastIndex) {
    if (match.index > from) found.push([line.slice(from, match.index), classes(state)]);
    if (match[1] !== undefined) apply(match[1], state);
  }
  if (from < line.length) found.push([line.slice(from), classes(state)]);
  return found;
}

function classes(state) {
  const list = [];
  let { fore, back } = state;
  if (state.inverse) [fore, back] = [back < 0 ? 7 : -1, fore < 0 ? 0 : fore];
  // A colour behind a text shows the text in the colour of the page: every pair is readable then.
  if (back > 0) list.push(`bg${back}`);
  else if (state.inverse) list.push("bg7");
  else if (fore >= 0) list.push(`fg${fore}`);
  for (const name of ["bold", "faint", "italic", "under", "strike"]) if (state[name]) list.push(name);
  return list.join(" ");
}

function apply(codes, state) {
  // Figures with colons between belong to one code, as in `38:2::255:0:0`; with semicolons, most are codes.
  const parts = codes.split(";").map((part) => part.split(":").map((figure) => (figure === "" ? 0 : Number(figure))));
  for (let i = 0; i < parts.length; i += 1) {
    const [code, ...more] = parts[i];
    if (code === 0) Object.assign(state, plain());
    else if (code === 1) state.bold = true;
    else if (code === 2) state.faint = true;
    else if (code === 3) state.italic = true;
    else if (code === 4) state.under = more[0] !== 0; // 4:3 is a wavy line, 4:0 none
    else if (code === 7) state.inverse = true;
    else if (code === 9) state.strike = true;
    else if (code === 22) state.bold = state.faint = false;
    else if (code === 23) state.italic = false;
    else if (code === 24) state.under = false;
    else if (code === 27) state.inverse = false;
    else if (code === 29) state.strike = false;
    else if (code >= 30 && code <= 37) state.fore = code - 30;
    else if (code >= 90 && code <= 97) state.fore = code - 90;
    else if (code === 39) state.fore = -1;
    else if (code >= 40 && code <= 47) state.back = code - 40;
    else if (code >= 100 && code <= 107) state.back = code - 100;
    else if (code === 49) state.back = -1;
    else if (code === 38 || code === 48 || code === 58) {
      const figures = more.length ? more : parts.slice(i + 1, i + 5).map(([figure]) => figure);
      const length = { 2: 4, 5: 2 }[figures[0]];
      if (!length) break;
      if (!more.length) i += length;
      // A form with colons has the number of a colour space before the three figures.
      const rgb = more.length > 4 ? figures.slice(2, 5) : figures.slice(1, 4);
      const colour = length === 2 ? nearestOfTable(figures[1] ?? 0) : nearest(rgb[0] ?? 0, rgb[1] ?? 0, rgb[2] ?? 0);
      if (code === 38) state.fore = colour;
      else if (code === 48) state.back = colour; // 58 is the colour of the line below
    }
  }
}

function nearestOfTable(index) {
  if (index < 16) return index % 8;
  if (index >= 232) return index < 244 ? 0 : 7;
  const cube = index - 16;
  return nearest(Math.floor(cube / 36) * 51, (Math.floor(cube / 6) % 6) * 51, (cube % 6) * 51);
}

/** The nearest of the eight colours: those have a good contrast in both themes. */
function nearest(red, green, blue) {
  const most = Math.max(red, green, blue), least = Math.min(red, green, blue);
  if (most - least < 40) return most < 128 ? 0 : 7;
  const middle = (most + least) / 2;
  return (red > middle ? 1 : 0) + (green > middle ? 2 : 0) + (blue > middle ? 4 : 0);
}
