// A terminal's text with its colours, as an SVG picture.

const COLOURS = { 31: "#e5534b", 32: "#57ab5a", 33: "#c69026", 34: "#539bf5", 35: "#b083f0", 36: "#39c5cf", 90: "#768390" };
const [WIDTH, HEIGHT, MARGIN] = [7.85, 18, 16];

/** Spaces stay as many as they are. */
const escaped = (text) => text.replace(/[&<> ]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", " ": "\u00a0" })[one]);

/** The same ids and times in each picture: ids by the order in which they come. */
function always(text, known) {
  return text.replace(/\b\ds ago/g, "3s ago").replace(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, (id) => {
    if (!known.has(id)) known.set(id, `01a2171c-d0${(known.size + 16).toString(16)}-7772-9b5b-75c3ca53bfe0`);
    return known.get(id);
  });
}

/** The pieces of a line with one look each. */
function pieces(line) {
  const found = [];
  let look = {};
  // Escapes that set the look; a text is what is between them.
  for (const piece of line.split(/(\x1b\[[0-9;]*m)/)) {
    const codes = piece.match(/^\x1b\[([0-9;]*)m$/)?.[1].split(";");
    if (!codes) {
      if (piece) found.push({ text: piece, ...look });
      continue;
    }
    for (const code of codes.map(Number)) {
      if (code === 0) look = {};
      else if (code === 1) look = { ...look, bold: true };
      else if (code === 2) look = { ...look, colour: COLOURS[90] };
      else if (code === 4) look = { ...look, underlined: true };
      else if (code >= 90 && code !== 90) look = { ...look, colour: COLOURS[code - 60] };
      else if (COLOURS[code]) look = { ...look, colour: COLOURS[code] };
    }
  }
  return found;
}

/** Commands, each with the text that it has printed. */
export function picture(steps) {
  const known = new Map();
  const lines = steps.flatMap(({ command, text }, index) => [
    ...(index ? [""] : []), `\x1b[32m$\x1b[0m \x1b[1m${command}\x1b[0m`, ...always(text, known).trimEnd().split("\n"),
  ]);
  const rows = lines.map((line, row) => {
    const spans = pieces(line).map(({ text, colour, bold, underlined }) => {
      const look = [colour && ` fill="${colour}"`, bold && ` font-weight="bold"`, underlined && ` text-decoration="underline"`];
      return `<tspan${look.filter(Boolean).join("")}>${escaped(text)}</tspan>`;
    });
    return `<text x="${MARGIN}" y="${MARGIN + 12 + row * HEIGHT}">${spans.join("")}</text>`;
  });
  const longest = Math.max(...lines.map((line) => line.replace(/\x1b\[[0-9;]*m/g, "").length));
  const [width, height] = [Math.ceil(2 * MARGIN + longest * WIDTH), 2 * MARGIN + lines.length * HEIGHT];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="offhook in a terminal">
<rect width="100%" height="100%" rx="8" fill="#22272e"/>
<g fill="#adbac7" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13">
${rows.join("\n")}
</g>
</svg>
`;
}
