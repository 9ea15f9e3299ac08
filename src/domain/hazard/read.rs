//! PostgreSQL's parse tree, turned into [`Act`]s. Nothing is known here of what exists; nothing is judged.

use super::act::{
    Act, Alter, Demand, Expr, Name, NewColumn, NewConstraint, NewTable, ReindexOf, Shape, Statement, Thing, TypeName,
    Verb,
};
use super::expr::{expr, strings, type_name};
use crate::domain::migration::{SplitError, pieces};
use crate::domain::sql::tokens;
use pg_query::protobuf::{
    self, AlterTableCmd, AlterTableStmt, AlterTableType, ConstrType, DropBehavior, ObjectType, RangeVar,
    ReindexObjectType, Token, TransactionStmtKind, VariableSetKind, a_const,
};
use pg_query::{Node, NodeEnum};

/// The most a statement may be nested, as its tokens bound it, to be read: the parser's output is recursive C, and its encoding stops at a
/// hundred levels anyway.
pub(super) const MOST_NESTING: usize = 1_000;

/// How deep blocks within functions within blocks are followed.
const MOST_BLOCKS: usize = 4;

/// The statements of a text.
///
/// # Errors
/// The text does not parse; where and why, in PostgreSQL's words.
pub fn read(text: &str) -> Result<Vec<Statement>, SplitError> {
    let mut place = Places::new(text);
    let mut all = Vec::new();
    for span in pieces(text)? {
        let sql = span.of(text);
        let (line, column) = place.of(span.start);
        let acts = acts(sql, 0);
        let opaque = acts.is_none();
        let acts = acts.unwrap_or_else(|| vec![Act::Other]);
        all.push(Statement { line, column, start: span.start, len: span.len, acts, opaque });
    }
    Ok(all)
}

/// Lines and columns of places that only go forward.
struct Places<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, line_start: 0 }
    }

    fn of(&mut self, offset: usize) -> (u32, u32) {
        for (place, _) in self.text[self.at..offset].match_indices('\n') {
            self.line = self.line.saturating_add(1);
            self.line_start = self.at + place + 1;
        }
        self.at = offset;
        let column = self.text[self.line_start..offset].trim_start_matches('\u{feff}').chars().count() + 1;
        (self.line, u32::try_from(column).unwrap_or(u32::MAX))
    }
}

/// What one statement does; `None` if its tree cannot be read.
pub(super) fn acts(sql: &str, depth: usize) -> Option<Vec<Act>> {
    if nesting(sql) > MOST_NESTING {
        return None;
    }
    let parsed = pg_query::parse(sql, 0).ok()?;
    let mut all = Vec::new();
    for raw in &parsed.protobuf.stmts {
        let node = raw.stmt.as_ref().and_then(|stmt| stmt.node.as_ref())?;
        statement(node, &parsed, depth, &mut all);
    }
    Some(all)
}

/// What the statements of a function's or block's text do: of SQL itself, or of PL/pgSQL.
#[must_use]
pub fn body(language: &str, text: &str) -> Vec<Act> {
    body_at(language, text, 1)
}

fn body_at(language: &str, text: &str, depth: usize) -> Vec<Act> {
    if depth > MOST_BLOCKS {
        return vec![Act::Dynamic];
    }
    match language {
        "sql" => several(text, depth),
        "plpgsql" => {
            let quote = dollar(text);
            // As a block it parses whatever the function's arguments and result are, or not at all.
            match pg_query::parse_plpgsql(&format!("DO {quote}{text}{quote}")) {
                Ok(tree) => {
                    let mut all = Vec::new();
                    super::block::plpgsql(&tree, depth, &mut all);
                    all
                }
                Err(_) => vec![Act::Dynamic],
            }
        }
        _ => vec![Act::Dynamic],
    }
}

/// The acts of a text of several statements; what does not parse is dynamic.
pub(super) fn several(text: &str, depth: usize) -> Vec<Act> {
    match pieces(text) {
        Ok(spans) => {
            spans.iter().flat_map(|span| acts(span.of(text), depth).unwrap_or_else(|| vec![Act::Dynamic])).collect()
        }
        Err(_) => vec![Act::Dynamic],
    }
}

/// A dollar quote that does not stand in the text.
fn dollar(text: &str) -> String {
    let mut tag = "$dbd$".to_owned();
    while text.contains(&tag) {
        tag.insert(1, 'x');
    }
    tag
}

/// A bound on how deep the tree of a statement can be: tokens since the last comma, over all open parentheses.
pub(super) fn nesting(sql: &str) -> usize {
    if sql.len() < MOST_NESTING {
        return 0;
    }
    let Ok(tokens) = tokens(sql) else { return usize::MAX };
    let (mut open, mut sum, mut most) = (vec![0usize], 0usize, 0usize);
    for token in &tokens {
        match token.token() {
            Token::Ascii40 | Token::Ascii91 => {
                open.push(1);
                sum += 1;
            }
            Token::Ascii41 | Token::Ascii93 => {
                if open.len() > 1 {
                    sum -= open.pop().unwrap_or(0);
                }
            }
            Token::Ascii44 => {
                if let Some(last) = open.last_mut() {
                    sum -= *last;
                    *last = 0;
                }
            }
            _ => {
                if let Some(last) = open.last_mut() {
                    *last += 1;
                    sum += 1;
                }
            }
        }
        most = most.max(sum);
    }
    most
}

fn range_name(range: &RangeVar) -> Name {
    let schema = (!range.schemaname.is_empty()).then(|| range.schemaname.clone());
    Name { schema, name: range.relname.clone() }
}

fn name_of(range: Option<&RangeVar>) -> Name {
    range.map(range_name).unwrap_or_default()
}

fn is_cascade(behavior: i32) -> bool {
    behavior == DropBehavior::DropCascade as i32
}

/// The name in a list, a bare string, a type's name or a function with its arguments.
fn object_name(node: &Node) -> Name {
    match &node.node {
        Some(NodeEnum::List(list)) => Name::of_parts(&strings(&list.items)),
        Some(NodeEnum::String(text)) => Name::bare(&text.sval),
        Some(NodeEnum::TypeName(ty)) => {
            let ty = type_name(ty);
            Name { schema: ty.schema, name: ty.name }
        }
        Some(NodeEnum::ObjectWithArgs(object)) => Name::of_parts(&strings(&object.objname)),
        Some(NodeEnum::RangeVar(range)) => range_name(range),
        _ => Name::default(),
    }
}

fn thing(kind: ObjectType) -> Thing {
    match kind {
        ObjectType::ObjectTable | ObjectType::ObjectForeignTable => Thing::Table,
        ObjectType::ObjectView => Thing::View,
        ObjectType::ObjectMatview => Thing::MaterializedView,
        ObjectType::ObjectSequence => Thing::Sequence,
        ObjectType::ObjectSchema => Thing::Schema,
        ObjectType::ObjectType | ObjectType::ObjectDomain => Thing::Type,
        ObjectType::ObjectFunction
        | ObjectType::ObjectProcedure
        | ObjectType::ObjectRoutine
        | ObjectType::ObjectAggregate => Thing::Function,
        ObjectType::ObjectTrigger | ObjectType::ObjectRule => Thing::Trigger,
        ObjectType::ObjectPolicy => Thing::Policy,
        ObjectType::ObjectExtension => Thing::Extension,
        ObjectType::ObjectColumn | ObjectType::ObjectAttribute => Thing::Column,
        ObjectType::ObjectTabconstraint => Thing::Constraint,
        ObjectType::ObjectIndex => Thing::Index,
        _ => Thing::Other,
    }
}

fn def_elem<'a>(nodes: &'a [Node], name: &str) -> Option<&'a protobuf::DefElem> {
    nodes.iter().find_map(|node| match &node.node {
        Some(NodeEnum::DefElem(element)) if element.defname == name => Some(element.as_ref()),
        _ => None,
    })
}

/// Whether a yes-or-no option is on; naming it alone says yes.
fn is_on(nodes: &[Node], name: &str) -> bool {
    let Some(element) = def_elem(nodes, name) else { return false };
    match element.arg.as_ref().and_then(|arg| arg.node.as_ref()) {
        None => true,
        Some(NodeEnum::Boolean(value)) => value.boolval,
        Some(NodeEnum::Integer(value)) => value.ival != 0,
        Some(NodeEnum::String(text)) => ["true", "on", "1"].contains(&text.sval.as_str()),
        _ => true,
    }
}

fn query_functions(parsed: &pg_query::ParseResult) -> Vec<Name> {
    parsed
        .call_functions()
        .iter()
        .map(|name| Name::of_parts(&name.split('.').map(str::to_owned).collect::<Vec<_>>()))
        .collect()
}

fn query(parsed: &pg_query::ParseResult, verb: Verb, table: Option<Name>, filtered: bool, node: &NodeEnum) -> Act {
    let split = |name: &String| Name::of_parts(&name.split('.').map(str::to_owned).collect::<Vec<_>>());
    let from_query = match node {
        NodeEnum::InsertStmt(insert) => insert.select_stmt.as_ref().is_some_and(
            |select| matches!(&select.node, Some(NodeEnum::SelectStmt(select)) if select.values_lists.is_empty()),
        ),
        NodeEnum::CopyStmt(_) => true,
        _ => false,
    };
    let mut found = Vec::new();
    select_strings(node, &mut found);
    Act::Query {
        verb,
        table,
        reads: parsed.select_tables().iter().map(split).collect(),
        filtered,
        functions: query_functions(parsed),
        strings: found,
        from_query,
    }
}

/// The strings a query names in its values, its conditions and its casts: where a new value of an enum would be used.
fn select_strings(node: &NodeEnum, found: &mut Vec<String>) {
    let of = |node: &Node, found: &mut Vec<String>| found.extend(expr(node).strings);
    match node {
        NodeEnum::SelectStmt(select) => {
            for list in select.values_lists.iter().take(1_000) {
                of(list, found);
            }
            for target in &select.target_list {
                if let Some(NodeEnum::ResTarget(target)) = &target.node
                    && let Some(value) = &target.val
                {
                    of(value, found);
                }
            }
            if let Some(condition) = &select.where_clause {
                of(condition, found);
            }
        }
        NodeEnum::InsertStmt(insert) => {
            if let Some(NodeEnum::SelectStmt(select)) = insert.select_stmt.as_ref().and_then(|node| node.node.as_ref())
            {
                select_strings(&NodeEnum::SelectStmt(select.clone()), found);
            }
        }
        NodeEnum::UpdateStmt(update) => {
            for target in &update.target_list {
                if let Some(NodeEnum::ResTarget(target)) = &target.node
                    && let Some(value) = &target.val
                {
                    of(value, found);
                }
            }
            if let Some(condition) = &update.where_clause {
                of(condition, found);
            }
        }
        NodeEnum::DeleteStmt(delete) => {
            if let Some(condition) = &delete.where_clause {
                of(condition, found);
            }
        }
        _ => {}
    }
}

fn statement(node: &NodeEnum, parsed: &pg_query::ParseResult, depth: usize, all: &mut Vec<Act>) {
    match node {
        NodeEnum::CreateStmt(stmt) => all.push(Act::CreateTable(Box::new(create_table(stmt)))),
        NodeEnum::CreateForeignTableStmt(stmt) => {
            let name = stmt.base_stmt.as_ref().and_then(|base| base.relation.as_ref());
            all.push(Act::CreateOther { thing: Thing::Other, name: name_of(name), lenient: false });
        }
        NodeEnum::CreateTableAsStmt(stmt) => {
            let into = stmt.into.as_ref().and_then(|into| into.rel.as_ref());
            let name = name_of(into);
            if stmt.objtype() == ObjectType::ObjectMatview {
                all.push(Act::CreateOther { thing: Thing::MaterializedView, name, lenient: stmt.if_not_exists });
            } else {
                let temporary = into.is_some_and(|range| range.relpersistence == "t");
                let if_not_exists = stmt.if_not_exists;
                let table = NewTable { name, if_not_exists, temporary, columns_elsewhere: true, ..NewTable::default() };
                all.push(Act::CreateTable(Box::new(table)));
            }
        }
        NodeEnum::ViewStmt(stmt) => {
            all.push(Act::CreateOther { thing: Thing::View, name: name_of(stmt.view.as_ref()), lenient: stmt.replace })
        }
        NodeEnum::CreateSeqStmt(stmt) => all.push(Act::CreateOther {
            thing: Thing::Sequence,
            name: name_of(stmt.sequence.as_ref()),
            lenient: stmt.if_not_exists,
        }),
        NodeEnum::AlterTableStmt(stmt) => alter_table(stmt, all),
        NodeEnum::IndexStmt(stmt) => {
            let columns = index_columns(&stmt.index_params);
            let only = stmt.relation.as_ref().is_some_and(|range| !range.inh);
            all.push(Act::CreateIndex {
                table: name_of(stmt.relation.as_ref()),
                index: (!stmt.idxname.is_empty()).then(|| stmt.idxname.clone()),
                columns,
                computed_from: computed_from(&stmt.index_params, stmt.where_clause.as_deref()),
                parts: stmt.index_params.len(),
                unique: stmt.unique,
                concurrently: stmt.concurrent,
                if_not_exists: stmt.if_not_exists,
                only,
            });
        }
        NodeEnum::DropStmt(stmt) => drop_stmt(stmt, all),
        NodeEnum::DropdbStmt(stmt) => all.push(Act::Drop {
            thing: Thing::Database,
            name: Name::bare(&stmt.dbname),
            if_exists: stmt.missing_ok,
            cascade: false,
        }),
        NodeEnum::ReindexStmt(stmt) => {
            let of = match stmt.kind() {
                ReindexObjectType::ReindexObjectIndex => ReindexOf::Index,
                ReindexObjectType::ReindexObjectTable => ReindexOf::Table,
                _ => ReindexOf::More,
            };
            let name = stmt.relation.as_ref().map_or_else(|| Name::bare(&stmt.name), range_name);
            all.push(Act::Reindex { of, name, concurrently: is_on(&stmt.params, "concurrently") });
        }
        NodeEnum::VacuumStmt(stmt) if stmt.is_vacuumcmd && is_on(&stmt.options, "full") => {
            let tables: Vec<Name> = stmt
                .rels
                .iter()
                .filter_map(|node| match &node.node {
                    Some(NodeEnum::VacuumRelation(relation)) => relation.relation.as_ref().map(range_name),
                    _ => None,
                })
                .collect();
            if tables.is_empty() {
                all.push(Act::Repack { words: "VACUUM FULL", table: None });
            }
            all.extend(tables.into_iter().map(|table| Act::Repack { words: "VACUUM FULL", table: Some(table) }));
        }
        NodeEnum::VacuumStmt(_) => all.push(Act::Vacuum),
        NodeEnum::ClusterStmt(stmt) => {
            all.push(Act::Repack { words: "CLUSTER", table: stmt.relation.as_ref().map(range_name) });
        }
        NodeEnum::RefreshMatViewStmt(stmt) => {
            all.push(Act::Refresh { view: name_of(stmt.relation.as_ref()), concurrently: stmt.concurrent })
        }
        NodeEnum::CreateTrigStmt(stmt) => {
            all.push(Act::CreateTrigger { table: name_of(stmt.relation.as_ref()), trigger: stmt.trigname.clone() })
        }
        NodeEnum::RuleStmt(stmt) => {
            all.push(Act::CreateTrigger { table: name_of(stmt.relation.as_ref()), trigger: stmt.rulename.clone() })
        }
        NodeEnum::CreatePolicyStmt(stmt) => all.push(Act::Policy { table: name_of(stmt.table.as_ref()) }),
        NodeEnum::AlterPolicyStmt(stmt) => all.push(Act::Policy { table: name_of(stmt.table.as_ref()) }),
        NodeEnum::GrantStmt(stmt) => all
            .push(Act::Privilege { revoked: !stmt.is_grant, objects: stmt.objects.iter().map(object_name).collect() }),
        NodeEnum::CreatePublicationStmt(stmt) => all.push(Act::Publication(stmt.pubname.clone())),
        NodeEnum::AlterPublicationStmt(stmt) => all.push(Act::Publication(stmt.pubname.clone())),
        NodeEnum::TruncateStmt(stmt) => all.extend(
            stmt.relations
                .iter()
                .map(|node| Act::Truncate { table: object_name(node), cascade: is_cascade(stmt.behavior) }),
        ),
        NodeEnum::RenameStmt(stmt) => all.push(rename(stmt)),
        NodeEnum::AlterObjectSchemaStmt(stmt) => {
            let on = stmt.relation.as_ref().map(range_name);
            let on = on.or_else(|| stmt.object.as_ref().map(|node| object_name(node))).unwrap_or_default();
            let to = stmt.newschema.clone();
            all.push(Act::Rename { thing: thing(stmt.object_type()), on, part: None, to, schema: true });
        }
        NodeEnum::AlterEnumStmt(stmt) => {
            let ty = Name::of_parts(&strings(&stmt.type_name));
            all.push(if stmt.old_val.is_empty() {
                Act::EnumValue { ty, value: stmt.new_val.clone(), placed: !stmt.new_val_neighbor.is_empty() }
            } else {
                let (part, to) = (Some(stmt.old_val.clone()), stmt.new_val.clone());
                Act::Rename { thing: Thing::EnumValue, on: ty, part, to, schema: false }
            });
        }
        NodeEnum::CreateEnumStmt(stmt) => {
            all.push(Act::CreateType { name: Name::of_parts(&strings(&stmt.type_name)), is_enum: true });
        }
        NodeEnum::CompositeTypeStmt(stmt) => {
            all.push(Act::CreateType { name: name_of(stmt.typevar.as_ref()), is_enum: false });
        }
        NodeEnum::CreateDomainStmt(stmt) => all.push(Act::CreateDomain {
            name: Name::of_parts(&strings(&stmt.domainname)),
            base: stmt.type_name.as_ref().map(type_name).unwrap_or_default(),
            constrained: stmt.constraints.iter().any(|node| {
                matches!(&node.node, Some(NodeEnum::Constraint(one))
                    if matches!(one.contype(), ConstrType::ConstrCheck | ConstrType::ConstrNotnull))
            }),
            default: stmt.constraints.iter().find_map(|node| match &node.node {
                Some(NodeEnum::Constraint(one)) if one.contype() == ConstrType::ConstrDefault => {
                    one.raw_expr.as_ref().map(|default| expr(default))
                }
                _ => None,
            }),
        }),
        NodeEnum::AlterDomainStmt(stmt) => {
            let valid = match stmt.def.as_ref().and_then(|def| def.node.as_ref()) {
                Some(NodeEnum::Constraint(one)) => !one.skip_validation,
                _ => true,
            };
            if ["C", "O", "V"].contains(&stmt.subtype.as_str()) {
                let name = Name::of_parts(&strings(&stmt.type_name));
                all.push(Act::ConstrainDomain { name, checked: valid });
            }
        }
        NodeEnum::CreateFunctionStmt(stmt) => all.push(create_function(stmt)),
        NodeEnum::AlterFunctionStmt(stmt) => {
            if let Some(word) = def_elem(&stmt.actions, "volatility").and_then(def_text) {
                let name = stmt.func.as_ref().map(|func| Name::of_parts(&strings(&func.objname))).unwrap_or_default();
                all.push(Act::Volatility { name, volatile: word == "volatile" });
            }
        }
        NodeEnum::CreateExtensionStmt(stmt) => all.push(Act::CreateExtension(stmt.extname.clone())),
        NodeEnum::AlterExtensionStmt(stmt) => all.push(Act::UpdateExtension(stmt.extname.clone())),
        NodeEnum::CreateSchemaStmt(stmt) => {
            all.push(Act::CreateSchema(stmt.schemaname.clone()));
            for element in stmt.schema_elts.iter().filter_map(|element| element.node.as_ref()) {
                statement(element, parsed, depth, all);
            }
        }
        NodeEnum::DoStmt(stmt) => {
            let language = def_elem(&stmt.args, "language").and_then(def_text).unwrap_or_else(|| "plpgsql".to_owned());
            let text = def_elem(&stmt.args, "as").and_then(def_text).unwrap_or_default();
            all.push(Act::Nested { guard: None, acts: body_at(&language, &text, depth + 1) });
        }
        NodeEnum::CallStmt(stmt) => {
            let name = stmt.funccall.as_ref().map(|call| Name::of_parts(&strings(&call.funcname)));
            all.push(Act::Query {
                verb: Verb::Select,
                table: None,
                reads: Vec::new(),
                filtered: false,
                functions: name.into_iter().collect(),
                strings: Vec::new(),
                from_query: false,
            });
        }
        NodeEnum::SelectStmt(stmt) => {
            if let Some(into) = stmt.into_clause.as_ref().and_then(|into| into.rel.as_ref()) {
                let temporary = into.relpersistence == "t";
                let table =
                    NewTable { name: range_name(into), temporary, columns_elsewhere: true, ..NewTable::default() };
                all.push(Act::CreateTable(Box::new(table)));
            } else {
                all.extend(set_config(stmt));
                all.push(query(parsed, Verb::Select, None, stmt.where_clause.is_some(), node));
            }
        }
        NodeEnum::InsertStmt(stmt) => {
            all.push(query(parsed, Verb::Insert, stmt.relation.as_ref().map(range_name), true, node));
        }
        NodeEnum::MergeStmt(stmt) => {
            all.push(query(parsed, Verb::Insert, stmt.relation.as_ref().map(range_name), true, node));
        }
        NodeEnum::CopyStmt(stmt) if stmt.is_from => {
            all.push(query(parsed, Verb::Insert, stmt.relation.as_ref().map(range_name), true, node));
        }
        NodeEnum::UpdateStmt(stmt) => {
            let filtered = stmt.where_clause.is_some() || !stmt.from_clause.is_empty();
            all.push(query(parsed, Verb::Update, stmt.relation.as_ref().map(range_name), filtered, node));
        }
        NodeEnum::DeleteStmt(stmt) => {
            let filtered = stmt.where_clause.is_some() || !stmt.using_clause.is_empty();
            all.push(query(parsed, Verb::Delete, stmt.relation.as_ref().map(range_name), filtered, node));
        }
        NodeEnum::LockStmt(stmt) if stmt.mode == 8 || stmt.mode == 7 => {
            all.extend(stmt.relations.iter().map(|node| Act::LockExclusive(object_name(node))));
        }
        NodeEnum::VariableSetStmt(stmt) => {
            let values = stmt.args.iter().filter_map(constant).collect();
            let kind = stmt.kind();
            if matches!(kind, VariableSetKind::VarSetValue | VariableSetKind::VarSetDefault | VariableSetKind::VarReset)
            {
                all.push(Act::Set { name: stmt.name.clone(), values });
            }
        }
        NodeEnum::TransactionStmt(stmt) => all.push(match stmt.kind() {
            TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart => Act::Begin,
            TransactionStmtKind::TransStmtCommit => Act::Commit,
            TransactionStmtKind::TransStmtSavepoint
            | TransactionStmtKind::TransStmtRelease
            | TransactionStmtKind::TransStmtRollbackTo => Act::Other,
            _ => Act::Control,
        }),
        _ => all.push(Act::Other),
    }
}

pub(super) fn constant(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Sval(text)) => Some(text.sval.clone()),
            Some(a_const::Val::Ival(number)) => Some(number.ival.to_string()),
            Some(a_const::Val::Fval(number)) => Some(number.fval.clone()),
            _ => None,
        },
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_ref().and_then(|arg| constant(arg)),
        _ => None,
    }
}

/// `SELECT set_config('search_path', '', false)` as the `SET` it is.
fn set_config(stmt: &protobuf::SelectStmt) -> Option<Act> {
    let [Node { node: Some(NodeEnum::ResTarget(target)) }] = stmt.target_list.as_slice() else { return None };
    let Some(NodeEnum::FuncCall(call)) = target.val.as_ref().and_then(|value| value.node.as_ref()) else { return None };
    if strings(&call.funcname).last().map(String::as_str) != Some("set_config") {
        return None;
    }
    let mut args = call.args.iter().map(constant);
    let (name, value) = (args.next()??, args.next()??);
    let values = value.split(',').map(|one| one.trim().trim_matches('"').to_owned()).filter(|one| !one.is_empty());
    Some(Act::Set { name, values: values.collect() })
}

fn def_text(element: &protobuf::DefElem) -> Option<String> {
    match element.arg.as_ref().and_then(|arg| arg.node.as_ref()) {
        Some(NodeEnum::String(text)) => Some(text.sval.clone()),
        Some(NodeEnum::List(list)) => strings(&list.items).into_iter().next(),
        _ => None,
    }
}

fn create_function(stmt: &protobuf::CreateFunctionStmt) -> Act {
    let volatility = def_elem(&stmt.options, "volatility").and_then(def_text);
    let body = def_elem(&stmt.options, "as").and_then(def_text);
    let language = def_elem(&stmt.options, "language").and_then(def_text).unwrap_or_else(|| "sql".to_owned());
    Act::CreateFunction {
        name: Name::of_parts(&strings(&stmt.funcname)),
        volatile: volatility.is_none_or(|word| word == "volatile"),
        language: language.to_lowercase(),
        body,
    }
}

fn index_columns(params: &[Node]) -> Vec<String> {
    params
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::IndexElem(element)) if !element.name.is_empty() => Some(element.name.clone()),
            _ => None,
        })
        .collect()
}

/// The columns that the expressions and the predicate of an index name.
fn computed_from(params: &[Node], predicate: Option<&Node>) -> Vec<String> {
    let expressions = params.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::IndexElem(element)) => element.expr.as_deref(),
        _ => None,
    });
    expressions.chain(predicate).flat_map(|node| expr(node).columns).collect()
}

fn create_table(stmt: &protobuf::CreateStmt) -> NewTable {
    let mut table = NewTable {
        name: name_of(stmt.relation.as_ref()),
        if_not_exists: stmt.if_not_exists,
        temporary: stmt.relation.as_ref().is_some_and(|range| range.relpersistence == "t"),
        unlogged: stmt.relation.as_ref().is_some_and(|range| range.relpersistence == "u"),
        partitioned: stmt.partspec.is_some(),
        partition_key: stmt.partspec.iter().flat_map(|spec| &spec.part_params).filter_map(key_column).collect(),
        columns_elsewhere: stmt.of_typename.is_some() || !stmt.inh_relations.is_empty(),
        ..NewTable::default()
    };
    let parents: Vec<Name> = stmt.inh_relations.iter().map(object_name).collect();
    if stmt.partbound.is_some() {
        table.partition_of = parents.into_iter().next();
    } else {
        table.inherits = parents;
    }
    for element in stmt.table_elts.iter().chain(&stmt.constraints) {
        match &element.node {
            Some(NodeEnum::ColumnDef(column)) => table.columns.push(new_column(column)),
            Some(NodeEnum::Constraint(one)) => table.constraints.extend(constraint(one, None)),
            Some(NodeEnum::TableLikeClause(_)) => table.columns_elsewhere = true,
            _ => {}
        }
    }
    table
}

/// The column a table is partitioned by.
fn key_column(element: &Node) -> Option<String> {
    match &element.node {
        Some(NodeEnum::PartitionElem(element)) if !element.name.is_empty() => Some(element.name.clone()),
        _ => None,
    }
}

/// The collation a column is given, unless it is the default one.
fn collation(def: &protobuf::ColumnDef) -> Option<String> {
    let names = strings(&def.coll_clause.as_ref()?.collname);
    names.into_iter().next_back().filter(|name| name != "default")
}

fn new_column(def: &protobuf::ColumnDef) -> NewColumn {
    let mut ty = def.type_name.as_ref().map(type_name).unwrap_or_default();
    let integer = match ty.name.as_str() {
        "serial" | "serial4" => Some("int4"),
        "bigserial" | "serial8" => Some("int8"),
        "smallserial" | "serial2" => Some("int2"),
        _ => None,
    };
    let serial = integer.is_some() && ty.schema.is_none();
    if let Some(integer) = integer.filter(|_| serial) {
        integer.clone_into(&mut ty.name);
    }
    let mut column = NewColumn {
        name: def.colname.clone(),
        ty,
        collation: collation(def),
        not_null: def.is_not_null || serial,
        default: def.raw_default.as_ref().map(|default| expr(default)),
        identity: !def.identity.is_empty(),
        stored: false,
        serial,
        constraints: Vec::new(),
    };
    for node in &def.constraints {
        let Some(NodeEnum::Constraint(one)) = &node.node else { continue };
        match one.contype() {
            ConstrType::ConstrNotnull => column.not_null = true,
            ConstrType::ConstrDefault => column.default = one.raw_expr.as_ref().map(|default| expr(default)),
            ConstrType::ConstrIdentity => {
                column.identity = true;
                column.not_null = true;
            }
            // 'v' is PostgreSQL 18's virtual column, which is computed when it is read.
            ConstrType::ConstrGenerated => column.stored = one.generated_kind != "v",
            ConstrType::ConstrPrimary => {
                column.not_null = true;
                column.constraints.extend(constraint(one, Some(&def.colname)));
            }
            _ => column.constraints.extend(constraint(one, Some(&def.colname))),
        }
    }
    column
}

fn constraint(one: &protobuf::Constraint, column: Option<&str>) -> Option<NewConstraint> {
    let keys = |keys: &[Node]| match (strings(keys), column) {
        (keys, Some(column)) if keys.is_empty() => vec![column.to_owned()],
        (keys, _) => keys,
    };
    let demand = match one.contype() {
        ConstrType::ConstrCheck => Demand::Check(one.raw_expr.as_ref().map(|check| expr(check)).unwrap_or_default()),
        ConstrType::ConstrForeign => Demand::Foreign {
            columns: keys(&one.fk_attrs),
            to: name_of(one.pktable.as_ref()),
            to_columns: strings(&one.pk_attrs),
        },
        ConstrType::ConstrUnique => Demand::Unique(keys(&one.keys)),
        ConstrType::ConstrPrimary => Demand::Primary(keys(&one.keys)),
        ConstrType::ConstrExclusion => {
            let elements = one.exclusions.iter().filter_map(|node| match &node.node {
                Some(NodeEnum::List(pair)) => pair.items.first(),
                _ => None,
            });
            Demand::Exclude(index_columns(&elements.cloned().collect::<Vec<_>>()))
        }
        ConstrType::ConstrNotnull => Demand::NotNull(keys(&one.keys).into_iter().next()?),
        _ => return None,
    };
    let enforceable = matches!(demand, Demand::Check(_) | Demand::Foreign { .. });
    Some(NewConstraint {
        name: (!one.conname.is_empty()).then(|| one.conname.clone()),
        demand,
        unchecked: one.skip_validation || (enforceable && !one.is_enforced),
        using_index: (!one.indexname.is_empty()).then(|| one.indexname.clone()),
    })
}

fn alter_table(stmt: &AlterTableStmt, all: &mut Vec<Act>) {
    let table = name_of(stmt.relation.as_ref());
    let of_table = matches!(stmt.objtype(), ObjectType::ObjectTable | ObjectType::ObjectForeignTable);
    for cmd in &stmt.cmds {
        let Some(NodeEnum::AlterTableCmd(cmd)) = &cmd.node else { continue };
        let alter = alter(cmd);
        all.push(Act::Alter { table: table.clone(), if_exists: stmt.missing_ok, of_table, alter });
    }
}

fn alter(cmd: &AlterTableCmd) -> Alter {
    let def = cmd.def.as_ref().and_then(|def| def.node.as_ref());
    let column = || cmd.name.clone();
    match (cmd.subtype(), def) {
        (AlterTableType::AtAddColumn, Some(NodeEnum::ColumnDef(def))) => {
            Alter::AddColumn { column: Box::new(new_column(def)), if_not_exists: cmd.missing_ok }
        }
        (AlterTableType::AtDropColumn, _) => {
            Alter::DropColumn { column: column(), if_exists: cmd.missing_ok, cascade: is_cascade(cmd.behavior) }
        }
        (AlterTableType::AtAlterColumnType, Some(NodeEnum::ColumnDef(def))) => Alter::Type {
            column: column(),
            ty: def.type_name.as_ref().map(type_name).unwrap_or_default(),
            collation: collation(def),
            using: def.raw_default.as_ref().map(|using| expr(using)),
        },
        (AlterTableType::AtSetNotNull, _) => Alter::SetNotNull(column()),
        (AlterTableType::AtDropNotNull, _) => Alter::DropNotNull(column()),
        (AlterTableType::AtAddIdentity, _) => Alter::AddIdentity(column()),
        (AlterTableType::AtColumnDefault, _) => Alter::Default(column(), cmd.def.as_ref().map(|default| expr(default))),
        (AlterTableType::AtAddConstraint, Some(NodeEnum::Constraint(one))) => match constraint(one, None) {
            Some(constraint) => Alter::AddConstraint(constraint),
            None => Alter::Other,
        },
        (AlterTableType::AtValidateConstraint, _) => Alter::Validate(column()),
        (AlterTableType::AtDropConstraint, _) => {
            Alter::DropConstraint { name: column(), cascade: is_cascade(cmd.behavior) }
        }
        (AlterTableType::AtSetLogged, _) => Alter::Rewrite("SET LOGGED"),
        (AlterTableType::AtSetUnLogged, _) => Alter::Rewrite("SET UNLOGGED"),
        // Nearly every table is where it would be put.
        (AlterTableType::AtSetAccessMethod, _) if ["", "heap"].contains(&cmd.name.as_str()) => Alter::Other,
        (AlterTableType::AtSetTableSpace, _) if cmd.name == "pg_default" => Alter::Other,
        (AlterTableType::AtSetAccessMethod, _) => Alter::Rewrite("SET ACCESS METHOD"),
        (AlterTableType::AtSetTableSpace, _) => Alter::Rewrite("SET TABLESPACE"),
        (AlterTableType::AtSetExpression, _) => Alter::Rewrite("SET EXPRESSION"),
        (AlterTableType::AtAttachPartition, Some(NodeEnum::PartitionCmd(partition))) => Alter::Attach {
            child: name_of(partition.name.as_ref()),
            default: partition.bound.as_ref().is_some_and(|bound| bound.is_default),
        },
        (AlterTableType::AtDetachPartition, Some(NodeEnum::PartitionCmd(partition))) => {
            Alter::Detach { child: name_of(partition.name.as_ref()), concurrently: partition.concurrent }
        }
        (
            AlterTableType::AtEnableTrig
            | AlterTableType::AtEnableAlwaysTrig
            | AlterTableType::AtEnableReplicaTrig
            | AlterTableType::AtDisableTrig
            | AlterTableType::AtEnableTrigAll
            | AlterTableType::AtDisableTrigAll
            | AlterTableType::AtEnableTrigUser
            | AlterTableType::AtDisableTrigUser,
            _,
        ) => Alter::Trigger,
        (
            AlterTableType::AtEnableRowSecurity
            | AlterTableType::AtDisableRowSecurity
            | AlterTableType::AtForceRowSecurity
            | AlterTableType::AtNoForceRowSecurity,
            _,
        ) => Alter::RowSecurity,
        (AlterTableType::AtReplicaIdentity, _) => Alter::ReplicaIdentity,
        (AlterTableType::AtAddInherit, Some(NodeEnum::RangeVar(parent))) => Alter::Inherit(range_name(parent)),
        _ => Alter::Other,
    }
}

fn drop_stmt(stmt: &protobuf::DropStmt, all: &mut Vec<Act>) {
    let (kind, if_exists, cascade) = (stmt.remove_type(), stmt.missing_ok, is_cascade(stmt.behavior));
    for object in &stmt.objects {
        let name = object_name(object);
        all.push(match thing(kind) {
            Thing::Index => Act::DropIndex { index: name, concurrently: stmt.concurrent, if_exists },
            thing @ (Thing::Trigger | Thing::Policy) => {
                let parts = match &object.node {
                    Some(NodeEnum::List(list)) => strings(&list.items),
                    _ => Vec::new(),
                };
                let (own, table) = parts
                    .split_last()
                    .map_or((String::new(), Name::default()), |(own, table)| (own.clone(), Name::of_parts(table)));
                Act::DropOnTable { thing, table, name: own }
            }
            thing => Act::Drop { thing, name, if_exists, cascade },
        });
    }
}

fn rename(stmt: &protobuf::RenameStmt) -> Act {
    let of = thing(stmt.rename_type());
    let (thing, part) = match of {
        Thing::Column | Thing::Constraint | Thing::Trigger | Thing::Policy => (of, Some(stmt.subname.clone())),
        Thing::Schema if stmt.relation.is_none() => (of, Some(stmt.subname.clone())),
        of => (of, None),
    };
    let on = stmt.relation.as_ref().map(range_name);
    let on = on.or_else(|| stmt.object.as_ref().map(|node| object_name(node)));
    let on = on.unwrap_or_else(|| Name::bare(&stmt.subname));
    Act::Rename { thing, on, part, to: stmt.newname.clone(), schema: false }
}

/// The tree of an expression.
pub(super) fn expression(text: &str) -> Option<Node> {
    if nesting(text) > MOST_NESTING {
        return None;
    }
    let tree = pg_query::parse(&format!("SELECT {text}"), 0).ok()?.protobuf;
    let Some(NodeEnum::SelectStmt(select)) = tree.stmts.into_iter().next()?.stmt?.node else { return None };
    match select.target_list.into_iter().next()?.node? {
        NodeEnum::ResTarget(target) => target.val.map(|node| *node),
        _ => None,
    }
}

/// A constraint as `pg_get_constraintdef` words it, with whether it is valid.
#[must_use]
pub fn constraint_definition(definition: &str) -> Option<NewConstraint> {
    let acts = acts(&format!("ALTER TABLE t ADD CONSTRAINT c {definition}"), 0)?;
    match acts.into_iter().next()? {
        Act::Alter { alter: Alter::AddConstraint(constraint), .. } => Some(constraint),
        _ => None,
    }
}

/// A type as `format_type` words it.
#[must_use]
pub fn type_definition(text: &str) -> Option<TypeName> {
    match expression(&format!("NULL::{text}"))?.node? {
        NodeEnum::TypeCast(cast) => cast.type_name.as_ref().map(type_name),
        _ => None,
    }
}

/// An expression as `pg_get_expr` words it.
#[must_use]
pub fn expression_definition(text: &str) -> Option<Expr> {
    expression(text).map(|node| expr(&node))
}

/// Whether a default is there at all: `DEFAULT NULL` is none.
#[must_use]
pub fn gives_value(default: Option<&Expr>) -> bool {
    fn is_null(shape: &Shape) -> bool {
        match shape {
            Shape::Null => true,
            Shape::Cast(inner, _) => is_null(inner),
            _ => false,
        }
    }
    default.is_some_and(|default| !is_null(&default.shape))
}
