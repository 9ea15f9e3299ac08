//! Expressions and types of the parse tree, as far as hazards ask about them.

use super::act::{Expr, Name, Shape, TypeName};
use pg_query::protobuf::{AExprKind, BoolExprType, NullTestType, a_const};
use pg_query::{Node, NodeEnum};

/// The strings of a list of names.
pub(super) fn strings(nodes: &[Node]) -> Vec<String> {
    nodes
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::String(text)) => Some(text.sval.clone()),
            _ => None,
        })
        .collect()
}

/// A type as it is written, without `pg_catalog`.
pub(super) fn type_name(ty: &pg_query::protobuf::TypeName) -> TypeName {
    let parts = strings(&ty.names);
    let name = Name::of_parts(&parts);
    let mods = ty
        .typmods
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(a_const::Val::Ival(value)) => Some(value.ival),
                _ => None,
            },
            _ => None,
        })
        .collect();
    TypeName {
        schema: name.schema.filter(|schema| schema != "pg_catalog"),
        name: name.name,
        mods,
        array: !ty.array_bounds.is_empty(),
    }
}

/// What an expression is and names.
pub(super) fn expr(node: &Node) -> Expr {
    let mut found = Expr { shape: shape(node), ..Expr::default() };
    walk(node, &mut found);
    found.not_null = not_null(node);
    found
}

fn shape(node: &Node) -> Shape {
    match &node.node {
        Some(NodeEnum::AConst(constant)) if constant.isnull => Shape::Null,
        Some(NodeEnum::AConst(_)) => Shape::Constant,
        Some(NodeEnum::ColumnRef(column)) => match strings(&column.fields).as_slice() {
            [.., name] => Shape::Column(name.clone()),
            [] => Shape::Other,
        },
        Some(NodeEnum::TypeCast(cast)) => match (&cast.arg, &cast.type_name) {
            (Some(arg), Some(ty)) => Shape::Cast(Box::new(shape(arg)), type_name(ty)),
            _ => Shape::Other,
        },
        // Another order of the same bytes.
        Some(NodeEnum::CollateClause(clause)) => clause.arg.as_ref().map_or(Shape::Other, |arg| shape(arg)),
        _ => Shape::Other,
    }
}

/// The columns a check proves to be there: a check that is null counts as held, so only `IS NOT NULL` itself proves anything.
fn not_null(node: &Node) -> Vec<String> {
    match &node.node {
        Some(NodeEnum::NullTest(test)) if test.nulltesttype() == NullTestType::IsNotNull => {
            let column = |arg: &Node| match shape(arg) {
                Shape::Column(name) => Some(name),
                _ => None,
            };
            match test.arg.as_ref().and_then(|arg| arg.node.as_ref().zip(Some(arg))) {
                Some((NodeEnum::RowExpr(row), _)) => row.args.iter().filter_map(column).collect(),
                Some((_, arg)) => column(arg).into_iter().collect(),
                None => Vec::new(),
            }
        }
        Some(NodeEnum::BoolExpr(all)) if all.boolop() == BoolExprType::AndExpr => {
            all.args.iter().flat_map(not_null).collect()
        }
        // NOT (x IS NULL), and what is so on both sides of an OR.
        Some(NodeEnum::BoolExpr(all)) if all.boolop() == BoolExprType::NotExpr => match all.args.as_slice() {
            [Node { node: Some(NodeEnum::NullTest(test)) }] if test.nulltesttype() == NullTestType::IsNull => {
                match test.arg.as_ref().map(|arg| shape(arg)) {
                    Some(Shape::Column(name)) => vec![name],
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        },
        Some(NodeEnum::BoolExpr(any)) if any.boolop() == BoolExprType::OrExpr => {
            let mut arms = any.args.iter().map(not_null);
            let first = arms.next().unwrap_or_default();
            arms.fold(first, |both, arm| both.into_iter().filter(|name| arm.contains(name)).collect())
        }
        _ => Vec::new(),
    }
}

/// Collects what an expression names. Nodes that cannot stand in a default, a check or USING are passed over.
fn walk(node: &Node, found: &mut Expr) {
    let boxed = |inner: &Option<Box<Node>>, found: &mut Expr| {
        if let Some(inner) = inner {
            walk(inner, found);
        }
    };
    match &node.node {
        Some(NodeEnum::FuncCall(call)) => {
            found.functions.push(Name::of_parts(&strings(&call.funcname)));
            call.args.iter().for_each(|arg| walk(arg, found));
            boxed(&call.agg_filter, found);
        }
        Some(NodeEnum::ColumnRef(column)) => found.columns.extend(strings(&column.fields).pop()),
        Some(NodeEnum::AConst(constant)) => {
            if let Some(a_const::Val::Sval(text)) = &constant.val {
                found.strings.push(text.sval.clone());
            }
        }
        Some(NodeEnum::TypeCast(cast)) => {
            found.casts.extend(cast.type_name.as_ref().map(type_name));
            boxed(&cast.arg, found);
        }
        Some(NodeEnum::AExpr(operation)) => {
            boxed(&operation.lexpr, found);
            boxed(&operation.rexpr, found);
        }
        Some(NodeEnum::BoolExpr(all)) => all.args.iter().for_each(|arg| walk(arg, found)),
        Some(NodeEnum::NullTest(test)) => boxed(&test.arg, found),
        Some(NodeEnum::BooleanTest(test)) => boxed(&test.arg, found),
        Some(NodeEnum::CoalesceExpr(all)) => all.args.iter().for_each(|arg| walk(arg, found)),
        Some(NodeEnum::MinMaxExpr(all)) => all.args.iter().for_each(|arg| walk(arg, found)),
        Some(NodeEnum::AArrayExpr(all)) => all.elements.iter().for_each(|arg| walk(arg, found)),
        Some(NodeEnum::RowExpr(all)) => all.args.iter().for_each(|arg| walk(arg, found)),
        Some(NodeEnum::CollateClause(clause)) => boxed(&clause.arg, found),
        Some(NodeEnum::AIndirection(inner)) => boxed(&inner.arg, found),
        Some(NodeEnum::NamedArgExpr(named)) => boxed(&named.arg, found),
        Some(NodeEnum::List(list)) => list.items.iter().for_each(|arg| walk(arg, found)),
        Some(NodeEnum::CaseExpr(case)) => {
            boxed(&case.arg, found);
            case.args.iter().for_each(|arg| walk(arg, found));
            boxed(&case.defresult, found);
        }
        Some(NodeEnum::CaseWhen(when)) => {
            boxed(&when.expr, found);
            boxed(&when.result, found);
        }
        _ => {}
    }
}

/// The text a computed statement most likely has: constants as they are, everything else as [`Name::UNKNOWN`] in its place.
/// `None` when nothing of it is known.
pub(super) fn computed_text(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Sval(text)) => Some(text.sval.clone()),
            Some(a_const::Val::Ival(number)) => Some(number.ival.to_string()),
            _ => None,
        },
        Some(NodeEnum::TypeCast(cast)) => computed_text(cast.arg.as_ref()?),
        Some(NodeEnum::AExpr(operation))
            if operation.kind() == AExprKind::AexprOp && strings(&operation.name) == ["||"] =>
        {
            let (left, right) = (computed_text(operation.lexpr.as_ref()?), computed_text(operation.rexpr.as_ref()?));
            if left.is_none() && right.is_none() {
                return None;
            }
            Some(left.unwrap_or_else(|| placeholder().to_owned()) + &right.unwrap_or_else(|| placeholder().to_owned()))
        }
        Some(NodeEnum::FuncCall(call)) => {
            let name = strings(&call.funcname).pop()?;
            let mut args = call.args.iter();
            match name.as_str() {
                "format" => {
                    let pattern = computed_text(args.next()?)?;
                    Some(fill(&pattern, args.map(computed_text)))
                }
                "concat" => {
                    Some(args.map(|arg| computed_text(arg).unwrap_or_else(|| placeholder().to_owned())).collect())
                }
                "quote_ident" => Some(match args.next().and_then(computed_text) {
                    Some(text) => crate::domain::sql::quote_ident(&text),
                    None => placeholder().to_owned(),
                }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// An identifier that stands for [`Name::UNKNOWN`] in text that has to parse.
fn placeholder() -> &'static str {
    "\"?\""
}

/// `format()` with what is known of its arguments.
fn fill(pattern: &str, args: impl Iterator<Item = Option<String>>) -> String {
    let args: Vec<Option<String>> = args.collect();
    let (mut text, mut next, mut rest) = (String::new(), 0, pattern.chars().peekable());
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut number = String::new();
        while let Some(digit) = rest.peek().filter(|c| c.is_ascii_digit() || **c == '$' || **c == '-') {
            number.push(*digit);
            rest.next();
        }
        let kind = rest.next();
        if kind == Some('%') {
            text.push('%');
            continue;
        }
        let at = number.strip_suffix('$').and_then(|n| n.parse::<usize>().ok()).map_or(next, |n| n.saturating_sub(1));
        next = at + 1;
        match (kind, args.get(at).cloned().flatten()) {
            (Some('I'), Some(known)) => text.push_str(&crate::domain::sql::quote_ident(&known)),
            (Some('L'), Some(known)) => text.push_str(&crate::domain::sql::quote_literal(&known)),
            (Some('s'), Some(known)) => text.push_str(&known),
            (Some('L'), None) => text.push_str("'?'"),
            (_, _) => text.push_str(placeholder()),
        }
    }
    text
}
