//! Charts with plotters, each once as SVG and once as PNG. The font is in the program, so that a chart
//! looks the same wherever it is drawn.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(super) enum Chart {
    Bars(Bars),
    Lines(Lines),
}

/// One value each, on a scale of tenfolds.
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) ours: bool,
    pub(super) durable: bool,
}

/// Lines over tenfolds, with values from zero or over tenfolds too.
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: String,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// What the horizontal axis says.
pub(super) enum Axis {
    Named(String),
    /// `1 / (1 - quantile)`, labelled with its percentiles.
    Percentiles,
}

impl Chart {
    pub(super) fn title(&self) -> &str {
        match self {
            Self::Bars(bars) => &bars.title,
            Self::Lines(lines) => &lines.title,
        }
    }

    /// Writes `NAME.svg` and `NAME.png`.
    pub(super) fn save(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        let known = register_font(FONT, FontStyle::Normal, notosans::REGULAR_TTF);
        known.map_err(|_| anyhow!("the font cannot be read"))?;
        let size = self.size();
        let svg = folder.join(format!("{name}.svg"));
        self.draw(&SVGBackend::new(&svg, size).into_drawing_area())?;

        let mut pixels = vec![0; (size.0 * size.1) as usize * 3];
        let backend = BitMapBackend::with_buffer(&mut pixels, size);
        self.draw(&backend.into_drawing_area())?;
        let file = BufWriter::new(File::create(folder.join(format!("{name}.png")))?);
        let mut encoder = png::Encoder::new(file, size.0, size.1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(())
    }

    fn size(&self) -> (u32, u32) {
        match self {
            Self::Bars(bars) => (WIDTH, 80 + 34 * bars.bars.len() as u32),
            Self::Lines(_) => (WIDTH, 480),
        }
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> anyhow::Result<()>
    where
        B::ErrorType: 'static,
    {
        area.fill(&WHITE)?;
        let title = (FONT, 22).into_font().color(&INK);
        let area = area.titled(self.title(), title)?;
        match self {
            Self::Bars(bars) => bars.draw(&area)?,
            Self::Lines(lines) => lines.draw(&area)?,
        }
        area.present()?;
        Ok(())
    }
}

impl Bars {
    /// Drawn by hand: a bar, its name before it, its value behind it.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> anyhow::Result<()>
    where
        B::ErrorType: 'static,
    {
        let most = self.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        let text = (FONT, 16).into_font().color(&INK);
        let before = text.pos(Pos::new(HPos::Right, VPos::Center));
        let behind = text.pos(Pos::new(HPos::Left, VPos::Center));
        let room = f64::from(WIDTH) - f64::from(NAMES) - f64::from(VALUES);
        for (number, bar) in self.bars.iter().enumerate() {
            let top = 8 + 34 * number as i32;
            let end = NAMES + (room * bar.value / most.max(f64::MIN_POSITIVE)).max(1.0) as i32;
            let middle = top + 12;
            area.draw(&Rectangle::new(
                [(NAMES, top), (end, top + 24)],
                bar.colour().filled(),
            ))?;
            area.draw(&Text::new(
                bar.name.clone(),
                (NAMES - 8, middle),
                before.clone(),
            ))?;
            let value = match bar.value {
                value if value < 1_000.0 => format!("{value:.1}"),
                value => super::tables::count(value.round() as u64),
            };
            area.draw(&Text::new(value, (end + 8, middle), behind.clone()))?;
        }
        let legend = "blue: offhook   dark: durable before the answer   light: keeps nothing";
        let below = (10, 20 + 34 * self.bars.len() as i32);
        area.draw(&Text::new(
            legend,
            below,
            (FONT, 14).into_font().color(&INK),
        ))?;
        Ok(())
    }
}

impl Bar {
    fn colour(&self) -> RGBColor {
        match (self.ours, self.durable) {
            (true, true) => RGBColor(0, 90, 160),
            (true, false) => RGBColor(120, 180, 230),
            (false, true) => RGBColor(100, 100, 100),
            (false, false) => RGBColor(195, 195, 195),
        }
    }
}

impl Lines {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> anyhow::Result<()>
    where
        B::ErrorType: 'static,
    {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let most = points().map(|point| point.0).fold(least, f64::max);
        let highest = points().map(|point| point.1).fold(0.0, f64::max);
        if !least.is_finite() || highest <= 0.0 {
            return Ok(());
        }
        let (legend, area) = area.split_vertically(28);
        self.draw_legend(&legend)?;
        // One point is a chart, too.
        let across = (least..most.max(least * 2.0)).log_scale();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(30)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .build_cartesian_2d(across, 0.0..highest * 1.08)?;
        let words = (FONT, 15).into_font().color(&INK);
        let value_label = |value: &f64| match *value {
            value if highest < 10.0 => format!("{value:.1}"),
            value => super::tables::count(value.round() as u64),
        };
        let place_label = |value: &f64| self.x.label(*value);
        let mut mesh = chart.configure_mesh();
        mesh.label_style(words.clone())
            .axis_desc_style(words.clone())
            .y_desc(self.y.as_str())
            .light_line_style(WHITE)
            .y_label_formatter(&value_label);
        let name = match &self.x {
            Axis::Named(name) => name.as_str(),
            Axis::Percentiles => "percentile",
        };
        mesh.x_desc(name).x_label_formatter(&place_label).draw()?;
        for (number, line) in self.lines.iter().enumerate() {
            let style = PALETTE[number % PALETTE.len()].stroke_width(3);
            let dots = PALETTE[number % PALETTE.len()].filled();
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 4, dots)))?;
        }
        Ok(())
    }

    /// Above the lines, where it hides none.
    fn draw_legend<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> anyhow::Result<()>
    where
        B::ErrorType: 'static,
    {
        let text = (FONT, 15).into_font().color(&INK);
        let text = text.pos(Pos::new(HPos::Left, VPos::Center));
        let mut left = 90;
        for (number, line) in self.lines.iter().enumerate() {
            let style = PALETTE[number % PALETTE.len()].stroke_width(4);
            area.draw(&PathElement::new([(left, 14), (left + 24, 14)], style))?;
            area.draw(&Text::new(line.name.clone(), (left + 30, 14), text.clone()))?;
            left += 54 + 9 * line.name.len() as i32;
        }
        Ok(())
    }
}

impl Axis {
    fn label(&self, value: f64) -> String {
        match self {
            Self::Named(_) => super::tables::count(value.round() as u64),
            Self::Percentiles => {
                let percentile = 100.0 - 100.0 / value;
                let text = format!("{percentile:.3}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }
}

const FONT: &str = "sans-serif";
const WIDTH: u32 = 860;
/// The columns of the names before the bars, and of the values behind the longest one.
const NAMES: i32 = 130;
const VALUES: i32 = 110;
const INK: RGBColor = RGBColor(40, 40, 40);
/// Okabe and Ito's, told apart by everyone.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
