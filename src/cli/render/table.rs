//! Text for a terminal: tables, headings, colour.

use super::words::one_line;
use anstyle::{AnsiColor, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ContentArrangement, LineStyle, Table};
use textwrap::WordSplitter::NoHyphenation;

/// The blanks between two columns.
const GAP: usize = 2;

/// How something reads: well, badly, or in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// Bad.
    Bad,
    /// Neither good nor bad.
    #[default]
    Plain,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Odd => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Plain => Style::new(),
        }
    }

    const fn cell(self) -> Option<comfy_table::Color> {
        match self {
            Self::Good => Some(comfy_table::Color::DarkGreen),
            Self::Odd => Some(comfy_table::Color::DarkYellow),
            Self::Bad => Some(comfy_table::Color::DarkRed),
            Self::Plain => None,
        }
    }
}

/// Whether colour is used.
#[derive(Clone, Copy, Debug)]
pub struct Pen {
    /// On or off; the text is the same.
    pub color: bool,
}

impl Pen {
    /// `text` in a style.
    #[must_use]
    pub fn paint(self, style: Style, text: &str) -> String {
        if self.color && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// `text` in bold and in the colour of `tone`.
    #[must_use]
    pub fn strong(self, tone: Tone, text: &str) -> String {
        self.paint(tone.style().bold(), text)
    }

    /// `text` in the colour of `tone`.
    #[must_use]
    pub fn toned(self, tone: Tone, text: &str) -> String {
        self.paint(tone.style(), text)
    }

    /// `text` in the background.
    #[must_use]
    pub fn soft(self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }
}

/// One cell: its text and how it reads.
pub type Toned = (Tone, String);

/// A cell that is neither good nor bad.
#[must_use]
pub fn plain(text: impl Into<String>) -> Toned {
    (Tone::Plain, text.into())
}

/// Rows in aligned columns, without lines and without wrapping; each line starts with `indent` spaces and ends with a line break.
#[must_use]
pub fn columns(pen: Pen, indent: usize, rows: Vec<Vec<Toned>>) -> String {
    let mut table = bare(pen);
    fill(&mut table, 2, rows);
    printed(&table, indent)
}

/// A table with a header and a rule beneath it, fitted to `width` columns of a terminal where that is known.
///
/// Nothing in a column is ever wrapped: words cut in two are no use to anybody, and the first column is what gets copied. Where a table
/// is too wide, columns without any text are left out, and the last columns stand beneath their row instead.
#[must_use]
pub fn table(pen: Pen, width: Option<u16>, header: &[&str], mut rows: Vec<Vec<Toned>>) -> String {
    let mut header = header.to_vec();
    let beneath = width.map_or_else(Vec::new, |width| fit(usize::from(width), &mut header, &mut rows));
    let mut table = bare(pen);
    table.style_mut().header_separator = LineStyle::none().fill('─').junction('─');
    let bold = |name: &&str| Cell::new(name).add_attribute(comfy_table::Attribute::Bold);
    table.set_header(header.iter().map(bold).collect::<Vec<_>>());
    // The rule's place between two columns is as wide as a space.
    fill(&mut table, 1, rows);
    let mut out = String::new();
    for (at, line) in printed(&table, 0).lines().enumerate() {
        out.push_str(line);
        out.push('\n');
        // The header and the rule come first.
        if let Some(text) = at.checked_sub(2).and_then(|row| beneath.get(row)) {
            out.push_str(text);
        }
    }
    out
}

/// Takes out of a table what does not fit into `width`; what is to stand beneath each row, if anything is.
fn fit(width: usize, header: &mut Vec<&str>, rows: &mut [Vec<Toned>]) -> Vec<String> {
    let wide = |text: &str| textwrap::core::display_width(&one_line(text));
    let widths = |header: &[&str], rows: &[Vec<Toned>]| -> Vec<usize> {
        let cells = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|(_, text)| wide(text)).max();
        header.iter().enumerate().map(|(at, name)| wide(name).max(cells(at).unwrap_or(0))).collect()
    };
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    if total(&widths(header, rows)) <= width {
        return Vec::new();
    }
    for at in (1..header.len()).rev() {
        if rows.iter().all(|row| row.get(at).is_none_or(|(_, text)| text.trim().is_empty())) {
            header.remove(at);
            rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    }
    let widths = widths(header, rows);
    let fitting = (1..=widths.len()).rev().find(|count| total(&widths[..*count]) <= width).unwrap_or(1);
    if fitting == widths.len() {
        return Vec::new();
    }
    header.truncate(fitting);
    let options = textwrap::Options::new(width)
        .initial_indent("    ")
        .subsequent_indent("    ")
        .break_words(false)
        .word_splitter(NoHyphenation);
    let beneath = |row: &mut Vec<Toned>| {
        let rest: Vec<String> =
            row.drain(fitting..).map(|(_, text)| one_line(&text)).filter(|text| !text.is_empty()).collect();
        if rest.is_empty() {
            return String::new();
        }
        textwrap::wrap(&rest.join("  "), &options).iter().fold(String::new(), |out, line| out + line.trim_end() + "\n")
    };
    rows.iter_mut().map(beneath).collect()
}

fn bare(pen: Pen) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    if pen.color {
        table.enforce_styling().style_text_only();
    }
    table
}

fn fill(table: &mut Table, gap: u16, rows: Vec<Vec<Toned>>) {
    for row in rows {
        let cells = row.into_iter().map(|(tone, text)| {
            let cell = Cell::new(one_line(&text));
            tone.cell().map_or(cell.clone(), |color| cell.fg(color))
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    let last = table.column_count().saturating_sub(1);
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if place == last { 0 } else { gap }));
    }
}

fn printed(table: &Table, indent: usize) -> String {
    table.lines().fold(String::new(), |mut out, line| {
        let line = line.trim_end();
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
        out.push('\n');
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<Toned>> {
        vec![
            vec![
                plain("deploy-dev-1"),
                (Tone::Good, "succeeded".to_owned()),
                plain("a reason that is long enough to be wrapped"),
            ],
            vec![plain("deploy-production-12"), (Tone::Bad, "refused".to_owned()), plain("short")],
            vec![plain("deploy-dev-2"), (Tone::Good, "succeeded".to_owned()), plain("")],
        ]
    }

    #[test]
    fn a_table_that_fits_is_left_alone() {
        let text = table(Pen { color: false }, Some(90), &["run", "outcome", "reason"], rows());
        insta::assert_snapshot!(text, @"
        run                   outcome    reason
        ───────────────────────────────────────────────────────────────────────────
        deploy-dev-1          succeeded  a reason that is long enough to be wrapped
        deploy-production-12  refused    short
        deploy-dev-2          succeeded
        ");
        assert_eq!(table(Pen { color: false }, None, &["run", "outcome", "reason"], rows()), text);
    }

    #[test]
    fn what_does_not_fit_stands_beneath_its_row() {
        let text = table(Pen { color: false }, Some(40), &["run", "outcome", "reason"], rows());
        insta::assert_snapshot!(text, @"
        run                   outcome
        ───────────────────────────────
        deploy-dev-1          succeeded
            a reason that is long enough to be
            wrapped
        deploy-production-12  refused
            short
        deploy-dev-2          succeeded
        ");
        assert!(text.lines().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn a_column_without_text_goes_first() {
        let rows = vec![vec![plain("a"), plain(""), plain("text")], vec![plain("b"), plain(""), plain("")]];
        let text = table(Pen { color: false }, Some(10), &["run", "approved by", "why"], rows);
        insta::assert_snapshot!(text, @"
        run  why
        ─────────
        a    text
        b
        ");
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let without = columns(Pen { color: false }, 2, rows());
        let with = columns(Pen { color: true }, 2, rows());
        assert!(with.contains('\u{1b}'));
        assert_eq!(anstream::adapter::strip_str(&with).to_string(), without);
        assert!(without.lines().all(|line| line.starts_with("  deploy-") && line == line.trim_end()));
    }

    #[test]
    fn what_a_cell_holds_is_shown_and_not_obeyed() {
        let text = columns(Pen { color: false }, 0, vec![vec![plain("a\nb\u{7}")]]);
        assert_eq!(text, "a b\\u{7}\n");
    }
}
