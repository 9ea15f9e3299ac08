//! The only way to the terminal: results to stdout, everything else to stderr.
//!
//! A reader that goes away (`dbd list | head -1`) is not an error: what is left is dropped. Any other trouble with stdout is one, as a
//! report that was not written must not look like success. Trouble with stderr is never one; there would be nowhere to say it.

use super::error::{self, Severity, clean};
use crate::config::env;
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb
    #[default]
    Auto,
    /// Always, also into a file or a pipe
    Always,
    /// Never
    Never,
}

impl ColorChoice {
    /// Whether to use colour on a stream.
    #[must_use]
    pub fn decide(self, is_terminal: bool, variables: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                // https://no-color.org: present and not empty, whatever its value.
                let refused = variables.get(env::NO_COLOR).is_some_and(|value| !value.is_empty());
                is_terminal && !refused && variables.get(env::TERM).is_none_or(|term| term != "dumb")
            }
        }
    }
}

/// How much to say on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// Also what is being done.
    #[default]
    Normal,
    /// Also what only helps to find out why.
    Verbose,
}

/// What the flags say about output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShellOptions {
    /// `--color`.
    pub color: ColorChoice,
    /// `-q`, `-v`.
    pub verbosity: Verbosity,
    /// `--json`: an error is also printed on stdout, as a document.
    pub json: bool,
}

/// Stdout and stderr, and what may be written to them.
pub struct Shell {
    out: Stream,
    err: Stream,
    verbosity: Verbosity,
    json: bool,
    document_printed: bool,
}

struct Stream {
    to: Box<dyn Write + Send>,
    color: bool,
    is_terminal: bool,
    is_closed: bool,
}

impl Shell {
    /// The process's own streams. `variables` is the process's environment.
    #[must_use]
    pub fn of_process(options: ShellOptions, variables: &BTreeMap<String, String>) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let terminals = (out.is_terminal(), err.is_terminal());
        Self::new(options, variables, (Box::new(out), terminals.0), (Box::new(err), terminals.1))
    }

    /// Other streams, each with whether it is a terminal.
    #[must_use]
    pub fn new(
        options: ShellOptions,
        variables: &BTreeMap<String, String>,
        out: (Box<dyn Write + Send>, bool),
        err: (Box<dyn Write + Send>, bool),
    ) -> Self {
        let stream = |(to, is_terminal): (Box<dyn Write + Send>, bool)| Stream {
            to,
            color: options.color.decide(is_terminal, variables),
            is_terminal,
            is_closed: false,
        };
        Self {
            out: stream(out),
            err: stream(err),
            verbosity: options.verbosity,
            json: options.json,
            document_printed: false,
        }
    }

    /// Whether results may hold colour.
    #[must_use]
    pub fn out_has_color(&self) -> bool {
        self.out.color
    }

    /// Whether stderr is a terminal and not to be quiet: where a progress bar may move.
    #[must_use]
    pub fn may_animate(&self) -> bool {
        self.err.is_terminal && self.verbosity >= Verbosity::Normal
    }

    /// How much is to be said.
    #[must_use]
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether `--json` was asked for.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether whoever read stdout went away: a command that follows something can stop.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.out.is_closed
    }

    /// Prints a result as it is; a line break is added if it does not end with one.
    ///
    /// # Errors
    /// [`Code::FileUnwritable`] if stdout takes nothing; that its reader went away is not an error.
    pub fn result(&mut self, text: &str) -> Result<(), Failure> {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        self.out.write(&[text, end]).map_err(|error| {
            Failure::new(Code::FileUnwritable, "the result cannot be written to stdout").source(&error)
        })
    }

    /// Prints the one document of a command, indented on a terminal and on one line elsewhere.
    ///
    /// # Errors
    /// As [`Shell::result`].
    pub fn result_json(&mut self, document: &Value) -> Result<(), Failure> {
        self.document_printed = true;
        let text = if self.out.is_terminal { format!("{document:#}") } else { document.to_string() };
        self.result(&text)
    }

    /// Prints one line of a JSON Lines result. May be called any number of times.
    ///
    /// # Errors
    /// As [`Shell::result`].
    pub fn result_line(&mut self, line: &Value) -> Result<(), Failure> {
        self.result(&line.to_string())
    }

    /// Says what is being done: a verb, and what it is done to. Left out when quiet.
    pub fn status(&mut self, verb: &str, message: &str) {
        if self.verbosity >= Verbosity::Normal {
            let style = Style::new().bold().fg_color(Some(AnsiColor::Green.into()));
            let verb = self.err.paint(style, &format!("{verb:>14}"));
            self.err.say(&format!("{verb} {}\n", clean(message)));
        }
    }

    /// Says something worth knowing. Left out when quiet.
    pub fn note(&mut self, message: &str) {
        if self.verbosity >= Verbosity::Normal {
            let style = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
            let label = self.err.paint(style, "note:");
            self.err.say(&format!("{label} {}\n", clean(message)));
        }
    }

    /// Says something that only helps to find out why. Left out unless verbose.
    pub fn detail(&mut self, message: &str) {
        if self.verbosity >= Verbosity::Verbose {
            let line = self.err.paint(Style::new().dimmed(), &clean(message));
            self.err.say(&format!("{line}\n"));
        }
    }

    /// Warns; the command goes on.
    pub fn warn(&mut self, failure: &Failure) {
        self.err.say(&error::text(failure, Severity::Warning, self.err.color));
    }

    /// Says why the command failed: on stderr, and with `--json` also as a document on stdout, unless the command printed its
    /// document already.
    pub fn error(&mut self, failure: &Failure) {
        if self.json && !self.document_printed {
            // The failure itself is being told; that stdout is broken as well adds nothing.
            let _ = self.result_json(&error::document(failure));
        }
        self.err.say(&error::text(failure, Severity::Error, self.err.color));
    }
}

impl Stream {
    fn paint(&self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn write(&mut self, parts: &[&str]) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let done = parts.iter().try_for_each(|part| self.to.write_all(part.as_bytes())).and_then(|()| self.to.flush());
        match done {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            other => other,
        }
    }

    fn say(&mut self, text: &str) {
        let _ = self.write(&[text]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::{Arc, Mutex};

    /// A stream that can be looked at, or that fails.
    #[derive(Clone, Default)]
    struct Kept {
        bytes: Arc<Mutex<Vec<u8>>>,
        fails: Option<ErrorKind>,
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes.lock().unwrap().extend(bytes);
            self.fails.map_or(Ok(bytes.len()), |kind| Err(kind.into()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shell(options: ShellOptions, is_terminal: bool) -> (Shell, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        let streams = ((Box::new(out.clone()) as Box<_>, is_terminal), (Box::new(err.clone()) as Box<_>, is_terminal));
        (Shell::new(options, &BTreeMap::new(), streams.0, streams.1), out, err)
    }

    fn failing(kind: ErrorKind) -> Shell {
        let out = Kept { fails: Some(kind), ..Kept::default() };
        let options = ShellOptions::default();
        Shell::new(options, &BTreeMap::new(), (Box::new(out), false), (Box::new(Kept::default()), false))
    }

    fn failure() -> Failure {
        Failure::new(Code::CannotConnect, "no answer")
    }

    fn say_everything(shell: &mut Shell) {
        shell.result("the result").unwrap();
        shell.status("Dumping", "shop");
        shell.note("a note");
        shell.detail("a detail");
        shell.warn(&Failure::new(Code::SecretInFile, "a warning"));
        shell.error(&failure());
    }

    #[test]
    fn stdout_has_the_result_and_nothing_else() {
        let (mut shell, out, err) = shell(ShellOptions::default(), false);
        say_everything(&mut shell);
        assert_eq!(out.text(), "the result\n");
        insta::assert_snapshot!(err.text(), @"
               Dumping shop
        note: a note
        warning: a warning (DBD-0010)
        error: no answer (DBD-0101)
        ");
    }

    #[test]
    fn quiet_leaves_warnings_and_errors_and_verbose_adds_details() {
        let said = |verbosity| {
            let (mut shell, out, err) = shell(ShellOptions { verbosity, ..ShellOptions::default() }, false);
            say_everything(&mut shell);
            assert_eq!(out.text(), "the result\n");
            err.text()
        };
        assert_eq!(said(Verbosity::Quiet), "warning: a warning (DBD-0010)\nerror: no answer (DBD-0101)\n");
        assert!(said(Verbosity::Verbose).contains("a detail\n"));
    }

    #[test]
    fn an_error_is_a_document_unless_one_was_printed() {
        let options = ShellOptions { json: true, ..ShellOptions::default() };
        let (mut before, out, err) = shell(options, false);
        before.error(&failure());
        assert_eq!(serde_json::from_str::<Value>(&out.text()).unwrap()["error"]["code"], "DBD-0101");
        assert_eq!(out.text().lines().count(), 1);
        assert!(err.text().starts_with("error: no answer"));

        let (mut after, out, _) = shell(options, false);
        after.result_json(&json!({"schema": "dbd.run/1"})).unwrap();
        after.error(&failure());
        assert_eq!(out.text(), "{\"schema\":\"dbd.run/1\"}\n");

        let (mut lines, out, _) = shell(options, true);
        lines.result_line(&json!({"seq": 1})).unwrap();
        lines.result_line(&json!({"seq": 2})).unwrap();
        assert_eq!(out.text(), "{\"seq\":1}\n{\"seq\":2}\n");
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is() {
        let mut shell = failing(ErrorKind::BrokenPipe);
        assert!(!shell.is_closed());
        assert_eq!(shell.result("x"), Ok(()));
        assert!(shell.is_closed());
        assert_eq!(shell.result("y"), Ok(()));
        assert_eq!(failing(ErrorKind::StorageFull).result("x").unwrap_err().code, Code::FileUnwritable);
    }

    #[test]
    fn colour_follows_the_flag_then_the_terminal_and_no_color() {
        let with = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let none: BTreeMap<String, String> = with(&[]);
        assert!(ColorChoice::Auto.decide(true, &none));
        assert!(!ColorChoice::Auto.decide(false, &none));
        assert!(!ColorChoice::Auto.decide(true, &with(&[("NO_COLOR", "1")])));
        assert!(ColorChoice::Auto.decide(true, &with(&[("NO_COLOR", "")])));
        assert!(!ColorChoice::Auto.decide(true, &with(&[("TERM", "dumb")])));
        assert!(ColorChoice::Always.decide(false, &with(&[("NO_COLOR", "1")])));
        assert!(!ColorChoice::Never.decide(true, &none));
    }

    #[test]
    fn colour_is_on_the_words_and_never_needed() {
        let (mut plain, _, plain_err) = shell(ShellOptions::default(), false);
        let (mut colored, _, colored_err) = shell(ShellOptions::default(), true);
        say_everything(&mut plain);
        say_everything(&mut colored);
        assert!(colored_err.text().contains('\u{1b}'));
        assert_eq!(anstream::adapter::strip_str(&colored_err.text()).to_string(), plain_err.text());
    }
}
