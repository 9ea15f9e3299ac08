//! A document of sections, tables and lists, and its two forms: Markdown, and one HTML page that needs nothing else.
//!
//! The page has no script and loads nothing, so it can be mailed, archived and opened offline; it follows the reader's light or dark
//! setting and stays readable on a phone and on paper. Everything a document holds is escaped in both forms.

use super::table::Tone;
use super::words::{clean, duration, one_line};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::fmt::Write as _;

/// A piece of text within a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Words.
    Text(String),
    /// A name, a value or a command, as it is.
    Code(String),
    /// Words that read well or badly.
    Mark(Tone, String),
}

/// A line or a cell.
pub type Line = Vec<Span>;

/// Words as a line.
#[must_use]
pub fn text(words: impl Into<String>) -> Line {
    vec![Span::Text(words.into())]
}

/// A name, a value or a command as a line; an empty one stays empty.
#[must_use]
pub fn code(words: impl Into<String>) -> Line {
    vec![Span::Code(words.into())]
}

/// Words that read well or badly, as a line.
#[must_use]
pub fn mark(tone: Tone, words: impl Into<String>) -> Line {
    vec![Span::Mark(tone, words.into())]
}

/// What a section is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A paragraph.
    Text(Line),
    /// Names and what they are.
    Facts(Vec<(&'static str, Line)>),
    /// A table; every row has as many cells as the header.
    Table(Vec<&'static str>, Vec<Vec<Line>>),
    /// A list.
    List(Vec<Line>),
    /// A failure: the message, and beneath it its causes and hints.
    Failure(String, Vec<(&'static str, String)>),
    /// What took how long, in milliseconds; drawn as bars where there is room.
    Bars(Vec<(String, u64)>),
    /// A heading within the section.
    Heading(String),
    /// A picture: drawn on a page, in characters elsewhere.
    Picture {
        /// SVG whose texts are escaped already; coloured by the page's style.
        svg: String,
        /// The same in characters.
        text: String,
    },
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What it holds; a section without blocks is left out.
    pub blocks: Vec<Block>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The heading.
    pub title: String,
    /// A word or two beside the heading.
    pub badge: (Tone, String),
    /// What it comes to, in a sentence.
    pub lead: String,
    /// The sections.
    pub sections: Vec<Section>,
    /// The last line.
    pub foot: String,
}

impl Document {
    /// Adds a section, unless it has nothing to say.
    pub fn section(&mut self, title: impl Into<String>, blocks: Vec<Block>) {
        let blocks: Vec<Block> = blocks.into_iter().filter(|block| !block.is_empty()).collect();
        if !blocks.is_empty() {
            self.sections.push(Section { title: title.into(), blocks });
        }
    }
}

impl Block {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(line) => line.is_empty(),
            Self::Facts(facts) => facts.is_empty(),
            Self::Table(_, rows) => rows.is_empty(),
            Self::List(lines) => lines.is_empty(),
            Self::Failure(..) | Self::Heading(_) => false,
            Self::Bars(bars) => bars.is_empty(),
            Self::Picture { text, .. } => text.is_empty(),
        }
    }
}

/// The document as Markdown (GitHub's), ending in a line break.
#[must_use]
pub fn markdown(document: &Document) -> String {
    let mut out = format!("# {}\n\n", escaped(&document.title));
    let _ = writeln!(out, "**{}** · {}", escaped(&document.badge.1), escaped(&document.lead));
    for section in &document.sections {
        let _ = write!(out, "\n## {}\n", escaped(&section.title));
        for block in &section.blocks {
            out.push('\n');
            out += &block_markdown(block);
        }
    }
    if !document.foot.is_empty() {
        let _ = write!(out, "\n---\n\n{}\n", escaped(&document.foot));
    }
    out
}

fn block_markdown(block: &Block) -> String {
    let mut out = String::new();
    match block {
        Block::Text(line) => {
            let _ = writeln!(out, "{}", line_markdown(line));
        }
        Block::Facts(facts) => {
            out += &table_markdown(&["", ""], facts.iter().map(|(name, line)| vec![text(*name), line.clone()]))
        }
        Block::Table(header, rows) => out += &table_markdown(header, rows.iter().cloned()),
        Block::List(lines) => {
            for line in lines {
                let _ = writeln!(out, "- {}", line_markdown(line));
            }
        }
        Block::Failure(message, more) => {
            let _ = writeln!(out, "> **{}**", escaped(message));
            for (name, line) in more {
                let _ = writeln!(out, ">\n> {name}: {}", escaped(line));
            }
        }
        Block::Bars(bars) => {
            out += &table_markdown(
                &["phase", "took"],
                bars.iter().map(|(name, ms)| vec![text(name.as_str()), text(duration(*ms))]),
            );
        }
        Block::Heading(heading) => {
            let _ = writeln!(out, "### {}", escaped(heading));
        }
        Block::Picture { text, .. } => {
            // A fence that nothing in the picture can end.
            let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0).max(2);
            let fence = "`".repeat(longest + 1);
            let _ = writeln!(out, "{fence}text\n{}\n{fence}", text.trim_end());
        }
    }
    out
}

fn table_markdown(header: &[&str], rows: impl Iterator<Item = Vec<Line>>) -> String {
    let mut out = format!("| {} |\n|{}\n", header.join(" | "), "---|".repeat(header.len()));
    for row in rows {
        // A bar would end the cell even within code.
        let cells: Vec<String> = row.iter().map(|line| line_markdown(line).replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out
}

fn line_markdown(line: &Line) -> String {
    let spans = line.iter().map(|span| match span {
        Span::Text(words) => escaped(words),
        Span::Mark(Tone::Bad, words) if !words.is_empty() => format!("**{}**", escaped(words)),
        Span::Mark(_, words) => escaped(words),
        Span::Code(words) => code_markdown(&one_line(words)),
    });
    spans.collect()
}

/// Code in as many backticks as it takes.
fn code_markdown(words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    let longest = words.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if words.starts_with('`') || words.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{words}{space}{fence}")
}

/// Words on one line that no Markdown reader takes for anything but words.
fn escaped(words: &str) -> String {
    // What stands before a piece of code ends with a space that belongs to the line.
    let space = if words.ends_with(' ') { " " } else { "" };
    let mut out = one_line(words).chars().fold(String::new(), |mut out, character| {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '~' | '&') {
            out.push('\\');
        }
        out.push(character);
        out
    });
    out.push_str(space);
    out
}

/// The document as one HTML page.
#[must_use]
pub fn html(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing is loaded and nothing runs, whatever the page holds.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="color-scheme" content="light dark";
                title { (clean(&document.title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        p.badge.(tone_class(document.badge.0)) { (clean(&document.badge.1)) }
                        h1 { (clean(&document.title)) }
                        p.lead { (clean(&document.lead)) }
                    }
                    @for section in &document.sections {
                        section {
                            h2 { (clean(&section.title)) }
                            @for block in &section.blocks { (block_html(block)) }
                        }
                    }
                    footer { (clean(&document.foot)) }
                }
            }
        }
    };
    page.into_string()
}

fn block_html(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Text(line) => p { (line_html(line)) },
            Block::Facts(facts) => dl {
                @for (name, line) in facts { div { dt { (name) } dd { (line_html(line)) } } }
            },
            Block::Table(header, rows) => div.scroll {
                table {
                    thead { tr { @for name in header { th scope="col" { (name) } } } }
                    tbody { @for row in rows { tr { @for line in row { td { (line_html(line)) } } } } }
                }
            },
            Block::List(lines) => ul { @for line in lines { li { (line_html(line)) } } },
            Block::Failure(message, more) => div.failure {
                p { strong { (clean(message)) } }
                @for (name, line) in more { p { span.soft { (name) ": " } (clean(line)) } }
            },
            Block::Bars(bars) => div.bars { (bars_html(bars)) },
            Block::Heading(heading) => h3 { (clean(heading)) },
            Block::Picture { svg, .. } => div.scroll { (PreEscaped(svg)) },
        }
    }
}

fn bars_html(bars: &[(String, u64)]) -> Markup {
    let longest = bars.iter().map(|(_, ms)| *ms).max().unwrap_or(0).max(1);
    html! {
        @for (name, ms) in bars {
            div.bar {
                span { (clean(name)) }
                // A sliver even for the shortest, so that it is seen to have happened.
                span.track { span.fill style=(format!("width:{}%", (ms.saturating_mul(100) / longest).clamp(1, 100))) {} }
                span.took { (duration(*ms)) }
            }
        }
    }
}

fn line_html(line: &Line) -> Markup {
    html! {
        @for span in line {
            @match span {
                Span::Text(words) => (clean(words)),
                Span::Code(words) if words.is_empty() => {},
                Span::Code(words) => code { (clean(words)) },
                Span::Mark(Tone::Plain, words) => (clean(words)),
                Span::Mark(tone, words) => span.mark.(tone_class(*tone)) { (clean(words)) },
            }
        }
    }
}

const fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Odd => "odd",
        Tone::Bad => "bad",
        Tone::Plain => "plain",
    }
}

const STYLE: &str = include_str!("document.css");

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Document {
        let mut document = Document {
            title: "A <report> of *things*".to_owned(),
            badge: (Tone::Good, "succeeded".to_owned()),
            lead: "Everything went well".to_owned(),
            sections: Vec::new(),
            foot: "the end".to_owned(),
        };
        document.section("Facts", vec![Block::Facts(vec![("run", code("deploy-dev-1")), ("why", text("a_b | c"))])]);
        document.section("Left out", vec![Block::List(Vec::new())]);
        document.section(
            "Rest",
            vec![
                Block::Table(vec!["a", "b"], vec![vec![code("x|`y`"), mark(Tone::Bad, "error")]]),
                Block::Failure("it broke".to_owned(), vec![("hint", "<script>alert(1)</script>\nnext".to_owned())]),
                Block::Bars(vec![("backup".to_owned(), 2_000), ("preflight".to_owned(), 1)]),
            ],
        );
        document
    }

    #[test]
    fn markdown_holds_everything_and_nothing_is_taken_for_markup() {
        insta::assert_snapshot!(markdown(&sample()), @r"
        # A \<report\> of \*things\*

        **succeeded** · Everything went well

        ## Facts

        |  |  |
        |---|---|
        | run | `deploy-dev-1` |
        | why | a\_b \| c |

        ## Rest

        | a | b |
        |---|---|
        | `` x\|`y` `` | **error** |

        > **it broke**
        >
        > hint: \<script\>alert(1)\</script\> next

        | phase | took |
        |---|---|
        | backup | 2.0s |
        | preflight | 1ms |

        ---

        the end
        ");
    }

    #[test]
    fn the_page_is_whole_escapes_what_it_holds_and_loads_nothing() {
        let page = html(&sample());
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
        assert!(
            page.contains("A &lt;report&gt; of *things*") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;")
        );
        assert!(page.contains("<code>x|`y`</code>") && page.contains("width:100%") && page.contains("width:1%"));
        assert!(!page.contains("Left out"));
        for loading in ["<script", "src=", "href=", "url(", "@import", "http:", "https:"] {
            assert!(!page.contains(loading), "{loading}");
        }
    }
}
