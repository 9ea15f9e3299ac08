//! Cutting a migration's text into statements, and the statements into units.
//!
//! PostgreSQL's own parser finds the statements, so that a semicolon in a string, a dollar quote, a comment or a
//! function's body is never taken for an end. Three rules make units of them:
//!
//! 1. Statements that PostgreSQL refuses in a transaction run alone, outside any.
//! 2. The file's own `BEGIN` and `COMMIT` are borders between units and are dropped: dbd opens and commits each unit
//!    itself, because its record of the unit commits together with the unit.
//! 3. A value added by `ALTER TYPE ... ADD VALUE` may be used only after the commit. So a unit ends after such
//!    statements when others follow, except between the file's own `BEGIN` and `COMMIT`, whose writer asked for one
//!    transaction.
//!
//! Everything else between two borders is one transaction.

use super::batch::{self, Directive};
use super::statement::{self, Refusal, Role};
use super::{Cut, Span, Unit, UnitMode};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::sql::{is_comment, mask_strings, range, tokens};
use pg_query::NodeEnum;
use pg_query::protobuf::{ScanToken, Token};
use std::fmt;
use std::ops::Range;

/// The mark some editors put in front of UTF-8.
pub(super) const BOM: &str = "\u{feff}";

/// The most characters of an offending line that are shown.
const SHOWN_CHARS: usize = 160;

/// Why a text could not be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitError {
    /// `SyntaxError`, `TransactionControl` or `UnreadableMigration`.
    pub code: Code,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong there, in PostgreSQL's words where they are PostgreSQL's; no string of the text is quoted.
    pub message: String,
    /// The line's text, its strings masked.
    pub excerpt: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

impl SplitError {
    fn new(text: &str, offset: usize, code: Code, message: impl Into<String>) -> Self {
        let (line, column) = line_and_column(text, offset);
        let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |newline| offset + newline);
        let shown = mask_strings(text[start..end].trim_start_matches(BOM).trim());
        let excerpt = shown.chars().take(SHOWN_CHARS).collect();
        Self { code, line, column, message: message.into(), excerpt, hint: None }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The failure of reading `file`, a path relative to the project's root.
    #[must_use]
    pub fn into_failure(self, file: &str) -> Failure {
        let verb = match self.code {
            Code::SyntaxError => "does not parse",
            _ => "cannot be run",
        };
        let mut failure =
            Failure::new(self.code, format!("{file} {verb}: {}", self.message)).at(file, self.line, self.column);
        if !self.excerpt.is_empty() {
            failure = failure.cause(format_args!("line {}: {}", self.line, self.excerpt));
        }
        match self.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for SplitError {}

/// Cuts a text into units. A text without statements gives none.
///
/// Every token that is neither a comment, a closing semicolon nor the file's own `BEGIN` or `COMMIT` lies in exactly
/// one span, and the spans are in the text's order. A byte order mark in front is skipped; offsets count it.
///
/// # Errors
/// The text does not parse, steers its transaction in a way dbd cannot resume, or needs psql.
pub fn split(text: &str) -> Result<Vec<Unit>, SplitError> {
    cut(text, &Cut::default())
}

/// Like [`split`], for tools that cut a file at every `separator` before they look at the SQL, wherever it stands.
///
/// # Errors
/// As [`split`]; each piece has to parse on its own.
pub fn split_at(text: &str, separator: &str) -> Result<Vec<Unit>, SplitError> {
    cut(text, &Cut { separator: Some(separator), ..Cut::default() })
}

/// Like [`split`], the way a tool cuts its files.
pub(super) fn cut(text: &str, cut: &Cut<'_>) -> Result<Vec<Unit>, SplitError> {
    let mut all = Vec::new();
    let whole = || std::iter::once(after_mark(text)..text.len()).collect();
    for piece in cut.pieces.clone().unwrap_or_else(whole) {
        let mut start = piece.start;
        while start <= piece.end {
            let end = cut.separator.and_then(|separator| text[start..piece.end].find(separator)).map(|at| start + at);
            all.extend(statements(text, start..end.unwrap_or(piece.end), cut.no_transaction)?);
            start = end.map_or(piece.end, |end| end) + cut.separator.map_or(0, str::len).max(1);
        }
    }
    units(text, all)
}

/// The places of a text's statements, in order, whatever they ask of the transaction around them.
///
/// # Errors
/// The text does not parse.
pub fn pieces(text: &str) -> Result<Vec<Span>, SplitError> {
    let all = statements(text, after_mark(text)..text.len(), false)?;
    Ok(all.into_iter().map(|statement| statement.span).collect())
}

/// The statements before unit `before` that change the session for what comes after: `SET`, `RESET`, `SET ROLE`, not
/// `SET LOCAL`.
///
/// A run that continues at that unit in a new session has to repeat them first, or `search_path` would not be what the
/// statements were written for. The units must belong to `text`.
#[must_use]
pub fn session_settings(text: &str, units: &[Unit], before: usize) -> Vec<Span> {
    let earlier = units.iter().take(before).flat_map(|unit| &unit.statements);
    earlier.filter(|span| parse_one(span.of(text)).is_ok_and(|node| statement::sets_session(&node))).cloned().collect()
}

/// Whether the statement begins, ends or marks a transaction.
pub(super) fn is_transaction_control(sql: &str) -> bool {
    matches!(parse_one(sql), Ok(NodeEnum::TransactionStmt(_)))
}

/// Whether a statement can have left nothing in its session, nor in what new sessions begin with, that `DISCARD ALL` does not take away. Said
/// only of what is known: definitions and changes of rows, not what calls code, loads it, or sets defaults of roles and databases.
#[must_use]
pub fn leaves_session_as_it_was(sql: &str) -> bool {
    parse_one(sql).is_ok_and(|node| statement::leaves_session_as_it_was(&node))
}

fn after_mark(text: &str) -> usize {
    if text.starts_with(BOM) { BOM.len() } else { 0 }
}

struct Statement {
    span: Span,
    role: Role,
}

/// The statements of one piece of the text, with their places in the whole text.
fn statements(text: &str, piece: Range<usize>, no_transaction: bool) -> Result<Vec<Statement>, SplitError> {
    let part = &text[piece.clone()];
    let error = |offset: usize, code, message: &str| SplitError::new(text, piece.start + offset, code, message);
    if let Some(nul) = part.find('\0') {
        let found = error(nul, Code::UnreadableMigration, "there is a NUL byte, which no SQL text can hold");
        return Err(found.hint("save the file as UTF-8 text"));
    }
    let slices = match pg_query::split_with_parser(part) {
        Ok(slices) => slices,
        Err(pg_query::Error::Split(message)) => {
            let diagnosis = diagnose(part, &message);
            let found = error(diagnosis.offset, diagnosis.code, &diagnosis.message);
            return Err(diagnosis.hint.into_iter().fold(found, SplitError::hint));
        }
        Err(other) => return Err(error(0, Code::UnreadableMigration, &other.to_string())),
    };
    if slices.is_empty() {
        return Ok(Vec::new());
    }
    let (comments, tokens): (Vec<ScanToken>, Vec<ScanToken>) =
        tokens(part).unwrap_or_default().into_iter().partition(is_comment);
    let mut directives = Vec::new();
    for comment in &comments {
        let at = range(comment).0;
        match batch::directive(&part[at..range(comment).1]) {
            Some(Ok(directive)) => directives.push((at, directive)),
            Some(Err(message)) => {
                let found = error(at, Code::UnreadableMigration, &message);
                return Err(found.hint("dbd knows `-- dbd: no-transaction`, `-- dbd: batch size=5000 pause=100ms` and `-- dbd: allow CODE reason=...`"));
            }
            None => {}
        }
    }
    let no_transaction =
        no_transaction || directives.iter().any(|(_, directive)| *directive == Directive::NoTransaction);
    // The parse tree tells queries, of which there may be very many, from the statements that need a closer look.
    let utility = pg_query::is_utility_stmt(part).unwrap_or_default();
    let lines = Lines::of(text);
    let mut found = Vec::with_capacity(slices.len());
    let mut next = 0;
    for (index, slice) in slices.iter().enumerate() {
        // The slices point into the text; their place in it is the distance of the two addresses.
        let from = slice.as_ptr().addr() - part.as_ptr().addr();
        let first = next + tokens[next..].partition_point(|token| range(token).0 < from);
        let last = first + tokens[first..].partition_point(|token| range(token).1 <= from + slice.len());
        if first == last {
            continue;
        }
        let (start, end) = (range(&tokens[first]).0, range(&tokens[last - 1]).1);
        let behind = if next == 0 { 0 } else { range(&tokens[next - 1]).1 };
        next = last;
        let batch = directives.iter().find_map(|(at, directive)| match directive {
            Directive::Batch { size, pause_ms } if (behind..start).contains(at) => Some((*size, *pause_ms)),
            _ => None,
        });
        let role = match batch {
            Some((size, pause_ms)) => batch::role(&part[start..end], size, pause_ms),
            None if utility.get(index) == Some(&false) => Role::Plain,
            None => role(&part[start..end], &tokens[first..last], no_transaction),
        };
        let place = piece.start + start;
        found.push(Statement { span: Span { start: place, len: end - start, line: lines.line(place) }, role });
    }
    Ok(found)
}

/// The tokens without comments; empty for a text that does not scan.
fn significant_tokens(text: &str) -> Vec<ScanToken> {
    let mut tokens = tokens(text).unwrap_or_default();
    tokens.retain(|token| !is_comment(token));
    tokens
}

pub(super) fn parse_one(sql: &str) -> Result<NodeEnum, pg_query::Error> {
    let tree = pg_query::parse(sql, 0)?.protobuf;
    let node = tree.stmts.into_iter().next().and_then(|raw| raw.stmt).and_then(|stmt| stmt.node);
    node.ok_or(pg_query::Error::InvalidPointer)
}

fn role(sql: &str, tokens: &[ScanToken], no_transaction: bool) -> Role {
    match parse_one(sql) {
        Ok(node) if no_transaction => statement::role_alone(&node),
        Ok(node) => statement::role(&node),
        // Protocol Buffers stop at a hundred levels, so the tree of a long UNION or a long sum cannot be read. Of the
        // statements that may hold one, only an index can be built outside a transaction, and it must not be taken for
        // what it is not.
        Err(_) if builds_index_concurrently(tokens) => Role::Refused(Refusal {
            code: Code::UnreadableMigration,
            message: "the index's expression is nested too deeply to be read".to_owned(),
            hint: "put the expression into an IMMUTABLE function and index the function's result",
        }),
        Err(_) => Role::Plain,
    }
}

fn builds_index_concurrently(tokens: &[ScanToken]) -> bool {
    let words: Vec<Token> = tokens.iter().map(ScanToken::token).filter(|word| *word != Token::Unique).take(3).collect();
    words == [Token::Create, Token::Index, Token::Concurrently]
}

fn units(text: &str, statements: Vec<Statement>) -> Result<Vec<Unit>, SplitError> {
    let mut units = Vec::new();
    let mut open: Vec<Span> = Vec::new();
    let mut added_value = false;
    let mut block: Option<Span> = None;
    let close = |units: &mut Vec<Unit>, open: &mut Vec<Span>| {
        if !open.is_empty() {
            units.push(Unit { mode: UnitMode::Transaction, statements: std::mem::take(open) });
        }
    };
    for Statement { span, role } in statements {
        if added_value && role != Role::EnumValue {
            close(&mut units, &mut open);
            added_value = false;
        }
        match role {
            Role::Plain => open.push(span),
            Role::EnumValue => {
                open.push(span);
                added_value = block.is_none();
            }
            Role::Begin => {
                close(&mut units, &mut open);
                // A second BEGIN is only a warning to PostgreSQL; the transaction is the first one's.
                block.get_or_insert(span);
            }
            Role::Commit => {
                close(&mut units, &mut open);
                block = None;
            }
            Role::Alone(_, tag) if block.is_some() => {
                let message = format!("{tag} cannot run inside the file's own BEGIN and COMMIT");
                let found = SplitError::new(text, span.start, Code::TransactionControl, message);
                return Err(found.hint("move it before the BEGIN or after the COMMIT, or remove both"));
            }
            Role::Alone(probe, _) => {
                close(&mut units, &mut open);
                units.push(Unit { mode: UnitMode::Alone { probe }, statements: vec![span] });
            }
            Role::Refused(Refusal { code, message, hint }) => {
                return Err(SplitError::new(text, span.start, code, message).hint(hint));
            }
        }
    }
    if let Some(begin) = block {
        let found = SplitError::new(text, begin.start, Code::TransactionControl, "a BEGIN has no COMMIT");
        return Err(found.hint("add the COMMIT, or remove the BEGIN: dbd runs a migration in a transaction anyway"));
    }
    close(&mut units, &mut open);
    Ok(units)
}

/// Where the lines of a text start, to look many places up.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn line(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|newline| *newline < offset) + 1).unwrap_or(u32::MAX)
    }
}

/// The line and the column in characters of a byte, both from 1; a byte order mark takes no column.
pub(super) fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before[start..].trim_start_matches(BOM).chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// What is wrong with a text that does not parse, and where.
struct Diagnosis {
    offset: usize,
    code: Code,
    message: String,
    hint: Option<&'static str>,
}

fn diagnose(text: &str, message: &str) -> Diagnosis {
    let offset = locate(text, message);
    let here = &text[offset..];
    let plain = |code, message: String, hint| Diagnosis { offset, code, message, hint };
    // Rows after COPY ... FROM STDIN may look like anything, so this comes first.
    if let Some((copy, refusal)) = copy_before(text, offset) {
        return Diagnosis { offset: copy, code: refusal.code, message: refusal.message, hint: Some(refusal.hint) };
    }
    if let Some(command) = here.strip_prefix('\\') {
        let word: String =
            command.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '.' || *c == '!').take(20).collect();
        let hint = if word == "restrict" || word == "unrestrict" {
            "remove the \\restrict and \\unrestrict lines that pg_dump writes around its output"
        } else {
            "write it as SQL: dbd sends the file to the server, which does not know psql's commands"
        };
        return plain(Code::SyntaxError, format!("\\{word} is a command of psql, not SQL"), Some(hint));
    }
    if here.starts_with(':') && here[1..].starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '\'' || c == '"')
    {
        let hint = "write the value itself: only psql replaces :name by a variable";
        return plain(Code::SyntaxError, "syntax error at or near \":\"".to_owned(), Some(hint));
    }
    plain(Code::SyntaxError, presentable(message), None)
}

/// PostgreSQL's message without what it quotes of a string: that may be a password, or the rest of the file.
fn presentable(message: &str) -> String {
    let Some((words, _)) = message.split_once(NEAR) else { return message.to_owned() };
    match near(message) {
        Some(near)
            if !words.starts_with("unterminated")
                && near.chars().count() <= 40
                && !near.contains(['\'', '$', '\n']) =>
        {
            message.to_owned()
        }
        Some(_) if words == "syntax error" => format!("{words} at or near a string"),
        _ => words.to_owned(),
    }
}

const NEAR: &str = " at or near \"";

/// The text a message points at.
fn near(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(NEAR)?;
    rest.strip_suffix('"')
}

/// The byte at which the parser gave up.
///
/// The parser's binding tells the message but not the cursor. A parser that reads from left to right answers it all the
/// same: the offending token is the last one of the shortest beginning that already gives the same error, and every
/// shorter beginning merely ends too soon.
fn locate(text: &str, message: &str) -> usize {
    let fails = |end: usize| match pg_query::split_with_parser(&text[..end]) {
        Err(pg_query::Error::Split(found)) => found == message || !found.ends_with("at end of input"),
        Err(_) => true,
        Ok(_) => false,
    };
    let scannable = scannable(text);
    let tokens = significant_tokens(&text[..scannable]);
    let offending = partition_point(tokens.len(), |index| !fails(range(&tokens[index]).1));
    match tokens.get(offending) {
        Some(token) if !message.ends_with("at end of input") => range(token).0,
        // Every token is fine: either the scanner stopped behind them, or the text ends too soon.
        _ if scannable < text.len() => scannable,
        _ => tokens.last().map_or(0, |token| range(token).1),
    }
}

/// The first index for which `holds` does not; it must hold up to there and nowhere after.
fn partition_point(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// The length of the longest beginning that scans, up to the token that does not.
fn scannable(text: &str) -> usize {
    let scans = |end: usize| tokens(&text[..end]);
    let Err(pg_query::Error::Scan(message)) = scans(text.len()) else { return text.len() };
    let Some(near) = near(&message).filter(|near| !near.is_empty()) else { return 0 };
    // A string or comment without an end is quoted up to the end of the text; any other token by itself.
    if text.ends_with(near) && scans(text.len() - near.len()).is_ok() {
        return text.len() - near.len();
    }
    let places = text.match_indices(near).map(|(place, _)| place);
    places.take(1000).find(|&place| scans(place).is_ok() && scans(place + near.len()).is_err()).unwrap_or(0)
}

/// The `COPY ... FROM STDIN` whose rows the parser stumbled over at `offset`, if that is what happened.
fn copy_before(text: &str, offset: usize) -> Option<(usize, Refusal)> {
    let tokens = significant_tokens(&text[..offset]);
    let end = tokens.iter().rposition(|token| token.token() == Token::Ascii59)?;
    let before = &text[..range(&tokens[end]).0];
    let last = pg_query::split_with_parser(before).ok()?.pop()?;
    let from = last.as_ptr().addr() - text.as_ptr().addr();
    let start = tokens.iter().map(|token| range(token).0).find(|start| *start >= from)?;
    match parse_one(last).map(|node| (matches!(node, NodeEnum::CopyStmt(_)), statement::role(&node))) {
        Ok((true, Role::Refused(refusal))) => Some((start, refusal)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::AloneProbe;
    use super::*;
    use proptest::prelude::*;

    /// The units as `[first; second]`, an alone one as `<statement>`.
    fn shape(text: &str) -> String {
        let units = split(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let unit = |unit: &Unit| {
            let statements: Vec<&str> = unit.statements.iter().map(|span| span.of(text)).collect();
            match unit.mode {
                UnitMode::Transaction => format!("[{}]", statements.join("; ")),
                UnitMode::Alone { .. } => format!("<{}>", statements.join("; ")),
            }
        };
        units.iter().map(unit).collect()
    }

    fn error(text: &str) -> SplitError {
        split(text).expect_err(text)
    }

    #[test]
    fn semicolons_end_statements_only_where_postgresql_says_so() {
        for (text, expected) in [
            ("", ""),
            (" \n-- nothing\n/* ; */ ;; ", ""),
            ("SELECT 1", "[SELECT 1]"),
            ("-- a;\nSELECT 1 ; -- b;\n", "[SELECT 1]"),
            ("SELECT 1;;SELECT 2 /* ; /* nested ; */ */;", "[SELECT 1; SELECT 2]"),
            (
                "SELECT ';', E'\\';', \";\", $$;$$, $a$;$$;$a$; SELECT U&'\\0061;'",
                "[SELECT ';', E'\\';', \";\", $$;$$, $a$;$$;$a$; SELECT U&'\\0061;']",
            ),
            ("\u{feff}SELECT 'ä;ö'; SELECT '日本'", "[SELECT 'ä;ö'; SELECT '日本']"),
            ("SELECT 1;\r\nSELECT 2;\r\n", "[SELECT 1; SELECT 2]"),
            (
                "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO a VALUES (1); DELETE FROM b; END; SELECT 1",
                "[CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO a VALUES (1); DELETE FROM b; END; SELECT 1]",
            ),
            (
                "CREATE RULE r AS ON INSERT TO a DO ALSO (DELETE FROM b; DELETE FROM c); SELECT 1",
                "[CREATE RULE r AS ON INSERT TO a DO ALSO (DELETE FROM b; DELETE FROM c); SELECT 1]",
            ),
            ("DO $$ BEGIN COMMIT; END $$; CALL p()", "[DO $$ BEGIN COMMIT; END $$; CALL p()]"),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }

    #[test]
    fn the_files_own_transactions_are_borders() {
        for (text, expected) in [
            ("BEGIN; SELECT 1; SELECT 2; COMMIT;", "[SELECT 1; SELECT 2]"),
            ("START TRANSACTION; SELECT 1; END", "[SELECT 1]"),
            ("SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3", "[SELECT 1][SELECT 2][SELECT 3]"),
            ("SELECT 1; COMMIT; SELECT 2", "[SELECT 1][SELECT 2]"),
            ("BEGIN; COMMIT", ""),
            ("BEGIN; BEGIN; SELECT 1; COMMIT", "[SELECT 1]"),
            (
                "BEGIN; SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a; COMMIT",
                "[SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a]",
            ),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }

    #[test]
    fn a_new_enum_value_commits_before_what_may_use_it() {
        let add = "ALTER TYPE t ADD VALUE 'a'";
        for (text, expected) in [
            (add.to_owned(), format!("[{add}]")),
            (
                format!("SELECT 1; {add}; {add}; SELECT 2; SELECT 3"),
                format!("[SELECT 1; {add}; {add}][SELECT 2; SELECT 3]"),
            ),
            (format!("{add}; BEGIN; SELECT 2; COMMIT"), format!("[{add}][SELECT 2]")),
            (format!("BEGIN; {add}; SELECT 2; COMMIT; SELECT 3"), format!("[{add}; SELECT 2][SELECT 3]")),
            (
                "ALTER TYPE t RENAME VALUE 'a' TO 'b'; SELECT 1".to_owned(),
                "[ALTER TYPE t RENAME VALUE 'a' TO 'b'; SELECT 1]".to_owned(),
            ),
        ] {
            assert_eq!(shape(&text), expected, "{text}");
        }
    }

    #[test]
    fn what_a_transaction_cannot_hold_runs_alone_with_its_probe() {
        use AloneProbe::{Detached, IndexGone, IndexValid, Reindex, Repeatable, Unknown};
        let reindex = |relation: &str| Reindex { relation: relation.to_owned() };
        let valid = |schema: Option<&str>, table: &str, index: &str| IndexValid {
            schema: schema.map(str::to_owned),
            table: table.to_owned(),
            index: index.to_owned(),
        };
        let gone = |schema: Option<&str>, index: &str| IndexGone {
            schema: schema.map(str::to_owned),
            index: index.to_owned(),
        };
        for (sql, probe) in [
            ("CREATE INDEX CONCURRENTLY i ON a (b)", valid(None, "a", "i")),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"I x\" ON \"S\".\"order\" (b)",
                valid(Some("S"), "\"S\".\"order\"", "I x"),
            ),
            ("CREATE INDEX CONCURRENTLY ON a (b)", Unknown),
            ("DROP INDEX CONCURRENTLY i", gone(None, "i")),
            ("DROP INDEX CONCURRENTLY IF EXISTS s.i", gone(Some("s"), "i")),
            ("DROP INDEX CONCURRENTLY i, j", Unknown),
            ("REINDEX INDEX CONCURRENTLY s.i", reindex("s.i")),
            ("REINDEX (CONCURRENTLY) TABLE a", reindex("a")),
            ("REINDEX (CONCURRENTLY 'on', VERBOSE) TABLE a", reindex("a")),
            ("REINDEX SCHEMA s", Repeatable),
            ("REINDEX DATABASE d", Repeatable),
            ("REINDEX SYSTEM d", Repeatable),
            ("VACUUM", Repeatable),
            ("VACUUM (ANALYZE) a", Repeatable),
            ("CLUSTER", Repeatable),
            ("CREATE DATABASE d", Unknown),
            ("DROP DATABASE d", Unknown),
            ("DROP DATABASE IF EXISTS d", Repeatable),
            ("ALTER DATABASE d SET TABLESPACE t", Repeatable),
            ("CREATE TABLESPACE t LOCATION '/x'", Unknown),
            ("DROP TABLESPACE t", Unknown),
            ("ALTER SYSTEM SET work_mem = '1GB'", Repeatable),
            (
                "ALTER TABLE a DETACH PARTITION s.b CONCURRENTLY",
                Detached { table: "a".to_owned(), partition: "s.b".to_owned() },
            ),
            ("CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p", Unknown),
            ("CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (create_slot = true)", Unknown),
            ("ALTER SUBSCRIPTION s REFRESH PUBLICATION", Repeatable),
            ("ALTER SUBSCRIPTION s SET PUBLICATION p", Repeatable),
            ("ALTER SUBSCRIPTION s ADD PUBLICATION p", Unknown),
            ("ALTER SUBSCRIPTION s SET (failover = true)", Repeatable),
            ("DROP SUBSCRIPTION s", Unknown),
        ] {
            let text = format!("SELECT 1; {sql}; SELECT 2");
            assert_eq!(shape(&text), format!("[SELECT 1]<{sql}>[SELECT 2]"));
            assert_eq!(split(&text).unwrap()[1].mode, UnitMode::Alone { probe }, "{sql}");
        }
    }

    #[test]
    fn what_a_transaction_can_hold_stays_in_it() {
        for sql in [
            "CREATE INDEX concurrently_i ON a (b)",
            "CREATE TABLE vacuum (\"concurrently\" text DEFAULT 'CREATE INDEX CONCURRENTLY')",
            "DROP INDEX i",
            "REINDEX TABLE a",
            "REINDEX (CONCURRENTLY false) TABLE a",
            "ANALYZE a",
            "CLUSTER a",
            "ALTER DATABASE d SET work_mem = '1GB'",
            "ALTER TABLE a DETACH PARTITION b",
            "ALTER TABLE a DETACH PARTITION b FINALIZE",
            "ALTER TABLE a ADD COLUMN c int, DROP COLUMN d",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false)",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (create_slot = off)",
            "ALTER SUBSCRIPTION s SET PUBLICATION p WITH (refresh = false)",
            "ALTER SUBSCRIPTION s DISABLE",
            "ALTER SUBSCRIPTION s SET (synchronous_commit = off)",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "SET LOCAL lock_timeout = '1s'",
            "SET search_path = a, b",
            "COPY a FROM '/x'",
            "COPY a FROM PROGRAM 'x'",
            "CREATE VIEW v AS SELECT 1",
            "LOCK TABLE a",
            "DISCARD TEMP",
            "CHECKPOINT",
        ] {
            assert_eq!(shape(sql), format!("[{sql}]"));
        }
    }

    #[test]
    fn a_transaction_that_cannot_be_resumed_is_refused_at_its_place() {
        for sql in [
            "ROLLBACK",
            "ABORT",
            "ROLLBACK AND CHAIN",
            "COMMIT AND CHAIN",
            "PREPARE TRANSACTION 'x'",
            "COMMIT PREPARED 'x'",
            "ROLLBACK PREPARED 'x'",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "START TRANSACTION READ ONLY",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "DISCARD ALL",
            "BEGIN",
        ] {
            let found = error(&format!("SELECT 1;\n  {sql};\nSELECT 2;"));
            assert_eq!((found.code, found.line, found.column), (Code::TransactionControl, 2, 3), "{sql}: {found}");
            assert!(found.hint.is_some(), "{sql}");
        }
        let inside = error("BEGIN;\nVACUUM;\nCOMMIT");
        assert_eq!((inside.code, inside.line), (Code::TransactionControl, 2));
        assert!(inside.message.starts_with("VACUUM "), "{inside}");
    }

    #[test]
    fn what_only_psql_can_run_is_refused_as_such() {
        for (text, code, line, column, words) in [
            ("SELECT 1;\nCOPY a (b) FROM STDIN;\n1\n2\n\\.\nSELECT 2;", Code::UnreadableMigration, 2, 1, "psql"),
            ("SELECT 1;\n COPY a FROM stdin;\nit's\t$1\n\\N\t\"\n\\.\n", Code::UnreadableMigration, 2, 2, "psql"),
            ("COPY a FROM stdin;\n", Code::UnreadableMigration, 1, 1, "psql"),
            ("COPY a TO STDOUT", Code::UnreadableMigration, 1, 1, "psql"),
            (
                "--\n-- PostgreSQL database dump\n--\n\n\\restrict aB3x\n\nSET a = 1;\n",
                Code::SyntaxError,
                5,
                1,
                "\\restrict",
            ),
            ("SELECT 1;\n\\i other.sql\n", Code::SyntaxError, 2, 1, "\\i "),
            ("SELECT 1\n  \\gexec", Code::SyntaxError, 2, 3, "\\gexec"),
            ("\\copy a from 'it''s", Code::SyntaxError, 1, 1, "\\copy"),
            ("SELECT 1;\nSELECT * FROM :table;", Code::SyntaxError, 2, 15, ":"),
        ] {
            let found = error(text);
            assert_eq!((found.code, found.line, found.column), (code, line, column), "{text}: {found}");
            assert!(found.message.contains(words), "{found}");
            assert!(found.hint.is_some(), "{found}");
        }
        assert!(error("\\restrict x").hint.unwrap().contains("pg_dump"));
    }

    #[test]
    fn an_error_is_placed_at_the_token_postgresql_stumbles_over() {
        for (text, line, column, message) in [
            ("SELECT 1;\nALTER TABL a;", 2, 7, "syntax error at or near \"TABL\""),
            ("SELECT 1;\n\tä bc;", 2, 2, "syntax error at or near \"ä\""),
            ("\u{feff}SELEC 1", 1, 1, "syntax error at or near \"SELEC\""),
            ("SELECT '日本', x y z", 1, 18, "syntax error at or near \"z\""),
            ("SELECT 1 SELECT SELECT", 1, 17, "syntax error at or near \"SELECT\""),
            ("CREATE TABLE a (\n  b int,\n);", 3, 1, "syntax error at or near \")\""),
            ("CREATE TABLE a (\n  b int\n", 2, 8, "syntax error at end of input"),
            ("SELECT 1;\nSELECT 'x;\nSELECT 2;\n", 2, 8, "unterminated quoted string"),
            ("SELECT 1;\n/* x\nSELECT 2;\n", 2, 1, "unterminated /* comment"),
            ("SELECT $a$ x $b$", 1, 8, "unterminated dollar-quoted string"),
            ("SELECT \"x", 1, 8, "unterminated quoted identifier"),
            ("SELECT 1a", 1, 8, "trailing junk after numeric literal at or near \"1a\""),
            ("SELECT '1a' /* 1a */, 1a", 1, 23, "trailing junk after numeric literal at or near \"1a\""),
            ("SELEC 'it''s', 'open", 1, 1, "syntax error at or near \"SELEC\""),
            ("SELECT 1 'x' 'y'", 1, 10, "syntax error at or near a string"),
            ("SELECT 1;\nSELECT 1 ORDER BY 1 ORDER BY 2", 2, 21, "syntax error at or near \"ORDER\""),
            ("SELECT\u{0}", 1, 7, "there is a NUL byte, which no SQL text can hold"),
        ] {
            let found = error(text);
            assert_eq!((found.line, found.column, found.message.as_str()), (line, column, message), "{text}");
        }
    }

    #[test]
    fn an_error_shows_its_line_but_no_string() {
        let found = error("SELECT 1;\n  ALTER ROLE a PASWORD 'hunter2';\nSELECT 2").into_failure("migrations/1.sql");
        assert_eq!(found.message, "migrations/1.sql does not parse: unrecognized role option \"pasword\"");
        assert_eq!(found.causes, ["line 2: ALTER ROLE a PASWORD '…';"]);
        assert_eq!(found.place.map(|place| (place.line, place.column)), Some((2, 16)));
        for text in ["ALTER ROLE a PASSWORD 'hunter2", "ALTER ROLE a PASSWORD $$hunter2", "ALTER ROLE a 'hunter2'"] {
            let found = format!("{:?}", error(text).into_failure("1.sql"));
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn a_statement_nested_beyond_what_the_tree_can_tell_still_runs() {
        let sum = vec!["b"; 500].join(" || ");
        let union = vec!["SELECT 1"; 500].join(" UNION ALL ");
        for sql in [format!("SELECT {sum} FROM a"), union.clone(), format!("CREATE VIEW v AS {union}")] {
            assert_eq!(shape(&sql), format!("[{sql}]"));
        }
        let index = error(&format!("CREATE UNIQUE INDEX CONCURRENTLY i ON a (({sum}))"));
        assert_eq!(index.code, Code::UnreadableMigration);
        assert_eq!(shape(&format!("CREATE INDEX i ON a (({sum}))")), format!("[CREATE INDEX i ON a (({sum}))]"));
    }

    #[test]
    fn the_settings_of_a_session_are_found_for_whoever_continues() {
        let text = "SET search_path = a; SET LOCAL x.y = 1; SELECT 1; VACUUM; RESET ALL; SET ROLE b; SET TRANSACTION READ WRITE";
        let units = split(&text.replace("; SET TRANSACTION READ WRITE", "")).unwrap();
        let found =
            |before| -> Vec<&str> { session_settings(text, &units, before).iter().map(|span| span.of(text)).collect() };
        assert_eq!(found(0), Vec::<&str>::new());
        assert_eq!(found(1), ["SET search_path = a"]);
        assert_eq!(found(3), ["SET search_path = a", "RESET ALL", "SET ROLE b"]);
    }

    /// Statements and the noise between tokens that a splitter by hand gets wrong.
    fn a_statement() -> impl Strategy<Value = String> {
        let literal = prop_oneof![
            "[a-z;äß日\\-/* ]{0,8}".prop_map(|text| format!("'{text}'")),
            "[a-z;é$ ]{0,8}".prop_map(|text| format!("E'\\'{text}\\\\'")),
            "[a-z;'\"é\\-/* ]{0,8}".prop_map(|text| format!("$q${text}$q$")),
            "[a-z;' ]{0,8}".prop_map(|text| format!("$$BEGIN {text}; END$$")),
            "[A-Z;'é ]{1,8}".prop_map(|text| format!("\"{text}\"")),
            Just("'it''s;'".to_owned()),
            Just("U&'\\0061;'".to_owned()),
            Just("1.5e3".to_owned()),
        ];
        let noise = prop_oneof![
            4 => Just(" ".to_owned()),
            1 => Just("\n".to_owned()),
            1 => Just("\r\n\t".to_owned()),
            1 => "[a-z;'\"$日 ]{0,8}".prop_map(|text| format!(" -- {text}\n")),
            1 => "[a-z;'\"$日 ]{0,8}".prop_map(|text| format!(" /* {text} /* ; */ ' */ ")),
        ];
        let query = (prop::collection::vec((literal, noise.clone()), 1..4), noise.clone()).prop_map(|(items, lead)| {
            let list: Vec<String> = items.into_iter().map(|(item, noise)| format!("{item}{noise}")).collect();
            format!("SELECT{lead}{}", list.join(","))
        });
        prop_oneof![
            3 => query,
            1 => noise.clone().prop_map(|n| format!("CREATE{n}TABLE a (b int DEFAULT 1)")),
            1 => noise.clone().prop_map(|n| format!("VACUUM{n}a")),
            1 => noise.clone().prop_map(|n| format!("CREATE INDEX{n}CONCURRENTLY i ON a (b)")),
            1 => noise.clone().prop_map(|n| format!("ALTER TYPE t{n}ADD VALUE 'a;'")),
            1 => noise.prop_map(|n| format!("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC{n}SELECT 1; SELECT 2; END")),
        ]
    }

    proptest! {
        #[test]
        fn every_token_lies_in_exactly_one_span(
            statements in prop::collection::vec((a_statement(), "[ \n;]{0,3}( -- x;\n)?(/\\* ;' \\*/)?"), 0..8),
            mark in any::<bool>(),
        ) {
            let mut text = if mark { BOM.to_owned() } else { String::new() };
            for (statement, noise) in &statements {
                text.push_str(statement);
                text.push_str("\n;");
                text.push_str(noise);
            }
            let spans: Vec<Span> = split(&text).unwrap().into_iter().flat_map(|unit| unit.statements).collect();
            prop_assert_eq!(spans.len(), statements.len());
            let skipped = after_mark(&text);
            let mut covered = vec![0; spans.len()];
            for token in significant_tokens(&text[skipped..]) {
                let (start, end) = range(&token);
                let (start, end) = (start + skipped, end + skipped);
                let holders: Vec<usize> = (0..spans.len())
                    .filter(|i| spans[*i].start <= start && end <= spans[*i].start + spans[*i].len)
                    .collect();
                // A semicolon between statements is in none; one within a function's body is in its statement.
                prop_assert!(holders.len() == 1 || holders.is_empty() && &text[start..end] == ";", "{:?}", &text[start..end]);
                holders.iter().for_each(|holder| covered[*holder] += 1);
            }
            for (index, span) in spans.iter().enumerate() {
                let sql = span.of(&text);
                prop_assert!(covered[index] > 0);
                prop_assert_eq!(sql.trim(), sql);
                prop_assert_eq!(pg_query::split_with_parser(sql).unwrap().len(), 1, "{}", sql);
                prop_assert_eq!(span.line as usize, text[..span.start].matches('\n').count() + 1);
                prop_assert!(statements[index].0.starts_with(sql), "{} is not {}", sql, statements[index].0);
            }
        }

        #[test]
        fn any_text_is_cut_or_refused_at_a_place_within_it(text in "[ -~ä日\n\t'\"$;\\\\/*-]{0,60}") {
            if let Err(error) = split(&text) {
                prop_assert!(error.line as usize <= text.matches('\n').count() + 1);
                prop_assert!(error.column >= 1);
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
