//! What a PL/pgSQL block does, and what it asks the catalog before: a question is a condition of what stands behind it.

use super::act::{Act, Guard};
use super::expr::{computed_text, expr, strings};
use super::read::{MOST_NESTING, acts, constant, expression, nesting, several};
use pg_query::protobuf;
use pg_query::{Node, NodeEnum};

/// How many questions are followed one within the other; what stands behind more is taken to run.
const MOST_GUARDS: usize = 16;

/// Statement after statement, with up to `guards` early returns followed.
fn body(items: &[serde_json::Value], depth: usize, guards: usize, all: &mut Vec<Act>) {
    for (at, item) in items.iter().enumerate() {
        plpgsql(item, depth, all);
        if item.get("PLpgSQL_stmt_return").is_some() {
            return;
        }
        // What follows `IF ... THEN RETURN; END IF` runs if it was not so.
        if guards > 0
            && let Some(guard) = leaves_if(item)
        {
            let mut rest = Vec::new();
            body(&items[at + 1..], depth, guards - 1, &mut rest);
            all.push(Act::Nested { guard: Some(Guard { there: !guard.there, ..guard }), acts: rest });
            return;
        }
    }
}

/// Follows a PL/pgSQL tree: the SQL in it, what `EXECUTE` most likely runs, and the questions `IF` asks.
pub(super) fn plpgsql(tree: &serde_json::Value, depth: usize, all: &mut Vec<Act>) {
    use serde_json::Value;
    match tree {
        Value::Array(items) => body(items, depth, MOST_GUARDS, all),
        Value::Object(fields) => {
            for (key, value) in fields {
                let text = |field: &str| value.get(field)?.get("PLpgSQL_expr")?.get("query")?.as_str();
                match key.as_str() {
                    "PLpgSQL_stmt_execsql" => {
                        if let Some(sql) = text("sqlstmt") {
                            all.extend(acts(sql, depth).unwrap_or_else(|| vec![Act::Dynamic]));
                        }
                    }
                    "PLpgSQL_stmt_call" => {
                        if let Some(sql) = text("expr") {
                            all.extend(acts(sql, depth).unwrap_or_else(|| vec![Act::Dynamic]));
                        }
                    }
                    "PLpgSQL_stmt_perform" => {
                        if let Some(sql) = text("expr") {
                            all.extend(acts(sql, depth).unwrap_or_else(|| vec![Act::Dynamic]));
                        }
                    }
                    "PLpgSQL_stmt_dynexecute" => match text("query").and_then(executed) {
                        Some(sql) => all.extend(several(&sql, depth)),
                        None => all.push(Act::Dynamic),
                    },
                    "PLpgSQL_stmt_if" => {
                        let asked = text("cond").map(guards).unwrap_or_default();
                        let mut inner = Vec::new();
                        if let Some(then) = value.get("then_body") {
                            plpgsql(then, depth, &mut inner);
                        }
                        all.push(under(&asked.guards, inner));
                        let mut other = Vec::new();
                        for part in ["elsif_list", "else_body"] {
                            if let Some(part) = value.get(part) {
                                plpgsql(part, depth, &mut other);
                            }
                        }
                        if !other.is_empty() {
                            let guard = asked.only().map(|guard| Guard { there: !guard.there, ..guard });
                            all.push(Act::Nested { guard, acts: other });
                        }
                    }
                    // A loop over what the catalog lists does nothing where it lists nothing.
                    "PLpgSQL_stmt_fors" => {
                        let asked = text("query").and_then(listed);
                        let mut inner = Vec::new();
                        if let Some(body) = value.get("body") {
                            plpgsql(body, depth, &mut inner);
                        }
                        all.push(Act::Nested { guard: asked, acts: inner });
                    }
                    "PLpgSQL_expr" => {}
                    _ => plpgsql(value, depth, all),
                }
            }
        }
        _ => {}
    }
}

/// What `EXECUTE` runs, as far as its text tells.
fn executed(text: &str) -> Option<String> {
    computed_text(&expression(text)?).filter(|sql| sql.len() > 8)
}

/// What a condition asks the catalog: all of it has to be so.
#[derive(Default)]
struct Asked {
    guards: Vec<Guard>,
    /// Whether it asks anything else as well.
    more: bool,
}

impl Asked {
    /// The one question, if there is nothing else: then its opposite is known too.
    fn only(&self) -> Option<Guard> {
        match self.guards.as_slice() {
            [one] if !self.more => Some(one.clone()),
            _ => None,
        }
    }
}

/// The questions of a condition.
fn guards(text: &str) -> Asked {
    let mut asked = Asked::default();
    match expression(text) {
        Some(node) => collect_guards(&node, &mut asked),
        None => asked.more = true,
    }
    asked
}

fn collect_guards(node: &Node, asked: &mut Asked) {
    match &node.node {
        Some(NodeEnum::BoolExpr(all)) if all.boolop() == protobuf::BoolExprType::AndExpr => {
            all.args.iter().for_each(|arg| collect_guards(arg, asked));
        }
        _ => match guard(node) {
            Some(guard) if asked.guards.len() < MOST_GUARDS => asked.guards.push(guard),
            _ => asked.more = true,
        },
    }
}

/// Acts behind one question after the other.
fn under(guards: &[Guard], acts: Vec<Act>) -> Act {
    let mut guards = guards.iter().rev().cloned();
    let innermost = Act::Nested { guard: guards.next(), acts };
    guards.fold(innermost, |inner, guard| Act::Nested { guard: Some(guard), acts: vec![inner] })
}

/// The question after whose yes a block is left: `IF EXISTS (...) THEN ... RETURN; END IF;`.
fn leaves_if(statement: &serde_json::Value) -> Option<Guard> {
    let test = statement.get("PLpgSQL_stmt_if")?;
    let leaves = test.get("then_body")?.as_array()?.last()?.get("PLpgSQL_stmt_return").is_some();
    if !leaves || test.get("elsif_list").is_some() || test.get("else_body").is_some() {
        return None;
    }
    guards(test.get("cond")?.get("PLpgSQL_expr")?.get("query")?.as_str()?).only()
}

/// One question to the catalog: `[NOT] EXISTS (SELECT ...)`, `to_regclass(...) IS [NOT] NULL`.
fn guard(node: &Node) -> Option<Guard> {
    let (there, inner) = match &node.node {
        Some(NodeEnum::BoolExpr(not)) if not.boolop() == protobuf::BoolExprType::NotExpr => (false, not.args.first()?),
        _ => (true, node),
    };
    match &inner.node {
        Some(NodeEnum::SubLink(link)) if link.sub_link_type() == protobuf::SubLinkType::ExistsSublink => {
            let guard = from_catalog(link.subselect.as_ref()?)?;
            Some(Guard { there, ..guard })
        }
        Some(NodeEnum::NullTest(test)) => {
            let Some(NodeEnum::FuncCall(call)) = test.arg.as_ref()?.node.as_ref() else { return None };
            if strings(&call.funcname).last().map(String::as_str) != Some("to_regclass") {
                return None;
            }
            let name = constant(call.args.first()?)?;
            let parts: Vec<&str> = name.split('.').map(|part| part.trim_matches('"')).collect();
            let (own, schema) = parts.split_last()?;
            let mut equals = vec![("relname".to_owned(), (*own).to_owned())];
            equals.extend(schema.last().map(|schema| ("nspname".to_owned(), (*schema).to_owned())));
            let is_there = test.nulltesttype() == protobuf::NullTestType::IsNotNull;
            Some(Guard { relation: "pg_class".to_owned(), equals, there: is_there == there })
        }
        _ => None,
    }
}

/// What a loop's query asks the catalog for.
fn listed(text: &str) -> Option<Guard> {
    if nesting(text) > MOST_NESTING {
        return None;
    }
    let tree = pg_query::parse(text, 0).ok()?.protobuf;
    from_catalog(tree.stmts.into_iter().next()?.stmt?.as_ref())
}

/// A query of one of the catalogs, joined or not, as the question whether it has rows.
fn from_catalog(select: &Node) -> Option<Guard> {
    /// The one that says most comes first: the others are joined for its sake.
    const CATALOGS: [&str; 13] = [
        "pg_constraint",
        "table_constraints",
        "pg_attribute",
        "columns",
        "pg_indexes",
        "pg_tables",
        "tables",
        "pg_extension",
        "pg_type",
        "pg_class",
        "schemata",
        "pg_namespace",
        "pg_enum",
    ];
    let Some(NodeEnum::SelectStmt(select)) = select.node.as_ref() else { return None };
    let (mut tables, mut equals) = (Vec::new(), Vec::new());
    for from in &select.from_clause {
        tables_of(from, &mut tables)?;
    }
    let relation = match tables.as_slice() {
        [one] => one.clone(),
        _ => CATALOGS.iter().find(|known| tables.iter().any(|table| table == *known)).map(|name| (*name).to_owned())?,
    };
    comparisons(select.where_clause.as_ref()?, &mut equals);
    Some(Guard { relation, equals, there: true })
}

fn tables_of(from: &Node, tables: &mut Vec<String>) -> Option<()> {
    match &from.node {
        Some(NodeEnum::RangeVar(range)) => tables.push(range.relname.clone()),
        Some(NodeEnum::JoinExpr(join)) => {
            tables_of(join.larg.as_ref()?, tables)?;
            tables_of(join.rarg.as_ref()?, tables)?;
        }
        _ => return None,
    }
    Some(())
}

/// What has to be equal to what, in any case: what stands under OR or NOT does not.
fn comparisons(node: &Node, equals: &mut Vec<(String, String)>) {
    match &node.node {
        Some(NodeEnum::BoolExpr(all)) if all.boolop() == protobuf::BoolExprType::AndExpr => {
            all.args.iter().for_each(|arg| comparisons(arg, equals))
        }
        Some(NodeEnum::AExpr(operation)) if strings(&operation.name) == ["="] => {
            let side = |node: &Option<Box<Node>>| node.as_ref().map(|node| expr(node));
            if let (Some(left), Some(right)) = (side(&operation.lexpr), side(&operation.rexpr)) {
                let (column, value) = if left.columns.is_empty() { (right, left) } else { (left, right) };
                if let (Some(column), Some(value)) = (column.columns.first(), value.strings.first()) {
                    equals.push((column.clone(), value.clone()));
                }
            }
        }
        _ => {}
    }
}
