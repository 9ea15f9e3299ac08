//! How the story is told: narration, the commands, and what they say, each told apart by how it begins.
//!
//! ```text
//! ── Act 2 of 5: refused ──────────────
//!
//! Narration, in paragraphs.
//!
//!   $ dbd start demo
//!   │ what the command says
//!   ✓ exit 3 (refused), as it should be
//! ```

use crate::cli::Context;
use crate::cli::exit::ExitCode;
use crate::cli::render::table::{Pen, Tone, columns, plain};
use crate::cli::render::words::duration;
use crate::cli::shell::Verbosity;
use crate::domain::failure::Failure;
use std::cell::RefCell;
use std::path::Path;
use textwrap::WordSplitter::NoHyphenation;

/// What stands before each line a command says.
const GUTTER: &str = "  │ ";
/// How wide narration is at most, and where nothing says how wide the terminal is.
const READABLE: usize = 96;
const UNKNOWN: usize = 80;
/// How a shell tells that SIGKILL ended a command.
pub(super) const KILLED: i32 = 128 + 9;

/// Tells the story on stdout; with `--json` only what act it is, on stderr.
pub(super) struct Teller<'a> {
    context: &'a Context,
    pen: Pen,
    /// The columns of the terminal, if there is one.
    width: Option<usize>,
    silent: bool,
    lines: RefCell<Lines>,
}

impl<'a> Teller<'a> {
    /// Tells it on the streams of `context`.
    pub(super) fn new(context: &'a Context) -> Self {
        let shell = context.shell.borrow();
        Self {
            context,
            pen: Pen { color: shell.out_has_color() },
            width: context.width().map(usize::from),
            silent: shell.is_json(),
            lines: RefCell::default(),
        }
    }

    /// The flags with which a child says as much, in the same colours, as this process.
    pub(super) fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec!["--color", if self.pen.color { "always" } else { "never" }];
        match self.context.shell.borrow().verbosity() {
            Verbosity::Quiet => flags.push("--quiet"),
            Verbosity::Normal => {}
            Verbosity::Verbose => flags.push("--verbose"),
        }
        flags
    }

    /// How wide a child's output may be; `None` where it may be as wide as it likes.
    pub(super) fn columns(&self) -> Option<usize> {
        self.width.map(|width| width.saturating_sub(GUTTER.chars().count()))
    }

    /// The first words.
    pub(super) fn title(&self, text: &str) -> Result<(), Failure> {
        self.print(&self.pen.strong(Tone::Plain, text))
    }

    /// An act begins.
    pub(super) fn act(&self, number: usize, of: usize, title: &str) -> Result<(), Failure> {
        if self.silent {
            self.context.shell.borrow_mut().status(&format!("act {number} of {of}"), title);
            return Ok(());
        }
        let heading = format!("── Act {number} of {of}: {title} ");
        let rule = "─".repeat(self.readable().saturating_sub(heading.chars().count()));
        self.print(&format!("\n{}", self.pen.strong(Tone::Plain, &format!("{heading}{rule}"))))
    }

    /// A paragraph of narration.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.print(&format!(
            "\n{}",
            textwrap::fill(&text, textwrap::Options::new(self.readable()).word_splitter(NoHyphenation))
        ))
    }

    /// Names and what they stand for, to be copied.
    pub(super) fn facts(&self, facts: &[(&str, &str)]) -> Result<(), Failure> {
        let rows = facts.iter().map(|(name, value)| vec![plain(*name), plain(*value)]).collect();
        self.print(&format!("\n{}", columns(self.pen, 2, rows)))
    }

    /// A file of the project, and what is in it.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.print(&format!("\n  {}", self.pen.strong(Tone::Plain, name)))?;
        text.lines().try_for_each(|line| self.line(line))
    }

    /// A command as a user would type it.
    pub(super) fn command(&self, command: &str) -> Result<(), Failure> {
        let options = textwrap::Options::new(self.width.unwrap_or(usize::MAX))
            .initial_indent("  $ ")
            .subsequent_indent("      ")
            .word_splitter(NoHyphenation)
            .break_words(false);
        let text = textwrap::wrap(command, options).join("\n");
        self.print(&format!("\n{}", self.pen.strong(Tone::Plain, &text)))
    }

    /// More of what the command says; `bytes` may be cut anywhere.
    pub(super) fn output(&self, bytes: &[u8]) {
        for line in self.lines.borrow_mut().take(bytes) {
            // A stdout that takes nothing is told of by the next line of the story's own.
            let _ = self.line(&line);
        }
    }

    /// The command has said everything.
    pub(super) fn silence(&self) -> Result<(), Failure> {
        match self.lines.take().rest() {
            Some(line) => self.line(&line),
            None => Ok(()),
        }
    }

    /// How the command ended, and how it was to end.
    pub(super) fn verdict(&self, exit: i32, expected: i32) -> Result<(), Failure> {
        let (tone, text) = if exit == expected {
            (Tone::Good, format!("✓ exit {}, as it should be", named(exit)))
        } else {
            (Tone::Bad, format!("✗ exit {}, and should be {}", named(exit), named(expected)))
        };
        self.print(&format!("  {}", self.pen.toned(tone, &text)))
    }

    /// Something that was checked and found true.
    pub(super) fn proof(&self, text: &str) -> Result<(), Failure> {
        let options = textwrap::Options::new(self.readable()).initial_indent("  ✓ ").subsequent_indent("    ");
        self.print(
            &textwrap::wrap(text, options)
                .iter()
                .map(|line| self.pen.toned(Tone::Good, line))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }

    /// The last words.
    pub(super) fn curtain(&self, ok: bool, kept: Option<&Path>, took_ms: u64) -> Result<(), Failure> {
        let rule = "─".repeat(self.readable());
        let told = if ok { "Everything ended as told" } else { "The story broke off" };
        let (tone, what) = (if ok { Tone::Good } else { Tone::Bad }, format!("{told} after {}.", duration(took_ms)));
        self.print(&format!("\n{}\n\n{}", self.pen.strong(Tone::Plain, &rule), self.pen.strong(tone, &what)))?;
        match kept {
            None => self.print("The server is stopped, and nothing is left of it or of the project."),
            Some(folder) => {
                let folder = folder.display();
                self.print(&format!(
                    "The server is stopped. The project, with its journal and reports, stays in\n\n  {folder}\n\n  \
                     dbd -C {folder} audit --since 30d\n"
                ))
            }
        }
    }

    /// One line of what a command says.
    fn line(&self, line: &str) -> Result<(), Failure> {
        let gutter = self.pen.soft(GUTTER.trim_end());
        let folded = fold(line, self.columns());
        self.print(
            &folded.iter().map(|part| format!("{gutter} {part}").trim_end().to_owned()).collect::<Vec<_>>().join("\n"),
        )
    }

    fn readable(&self) -> usize {
        self.width.unwrap_or(UNKNOWN).min(READABLE)
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        if self.silent { Ok(()) } else { self.context.shell.borrow_mut().result(text) }
    }
}

/// An exit status with its name.
pub(super) fn named(exit: i32) -> String {
    let name = match exit {
        KILLED => Some("killed"),
        _ => ExitCode::ALL.iter().find(|code| i32::from(code.number()) == exit).map(|code| code.name()),
    };
    name.map_or_else(|| exit.to_string(), |name| format!("{exit} ({name})"))
}

/// `line` in parts of at most `width` columns, cut between words; what follows the first is indented a little more than it.
fn fold(line: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.filter(|width| textwrap::core::display_width(line) > *width) else {
        return vec![line.to_owned()];
    };
    // A colour may stand before the blanks.
    let bare = anstream::adapter::strip_str(line).to_string();
    let indent = " ".repeat((bare.len() - bare.trim_start().len() + 2).min(width / 2));
    // What gets copied, a path or a digest, is never cut; it may stick out.
    let options =
        textwrap::Options::new(width).subsequent_indent(&indent).break_words(false).word_splitter(NoHyphenation);
    textwrap::wrap(line, options).into_iter().map(|part| part.into_owned()).collect()
}

/// Whole lines out of pieces. Blank lines wait until something follows them.
#[derive(Default)]
struct Lines {
    piece: Vec<u8>,
    blank: usize,
}

impl Lines {
    /// The lines that `bytes` complete.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.piece.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.piece.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.piece.drain(..=end).collect();
            let line = text_of(&line);
            if line.is_empty() {
                self.blank += 1;
            } else {
                lines.extend(std::iter::repeat_n(String::new(), std::mem::take(&mut self.blank)));
                lines.push(line);
            }
        }
        lines
    }

    /// What was left without an end.
    fn rest(self) -> Option<String> {
        Some(text_of(&self.piece)).filter(|line| !line.is_empty())
    }
}

/// A line without its end. What may harm a terminal was taken out by the program that said it.
fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_trailing_blank_ones_are_dropped() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"on"), Vec::<String>::new());
        assert_eq!(lines.take(b"e\ntwo\n\n"), ["one", "two"]);
        assert_eq!(lines.take(b"three\n\n\n"), ["", "three"]);
        assert_eq!(lines.take(b"fo"), Vec::<String>::new());
        assert_eq!(lines.rest().as_deref(), Some("fo"));
    }

    #[test]
    fn a_long_line_is_folded_under_its_own_indent_and_a_path_is_never_cut() {
        assert_eq!(fold("  a word and another word", Some(14)), ["  a word and", "    another", "    word"]);
        assert_eq!(
            fold("see /a/very/long/path/of/a/file now", Some(12)),
            ["see", "  /a/very/long/path/of/a/file", "  now"]
        );
        assert_eq!(
            fold("\u{1b}[1m  a\u{1b}[0m word and more", Some(9)),
            ["\u{1b}[1m  a\u{1b}[0m word", "    and", "    more"]
        );
        assert_eq!(fold("as it is", None), ["as it is"]);
    }

    #[test]
    fn an_exit_status_has_its_name() {
        assert_eq!([0, 4, 137, 42].map(named), ["0 (ok)", "4 (rolled back)", "137 (killed)", "42"]);
    }
}
