//! What one statement asks of the transaction around it, read from PostgreSQL's own parse tree.

use super::AloneProbe;
use crate::domain::code::Code;
use crate::domain::sql::quote_ident;
use pg_query::protobuf::{
    AlterSubscriptionStmt, AlterSubscriptionType, AlterTableType, DefElem, DiscardMode, DropStmt, IndexStmt, RangeVar,
    ReindexObjectType, TransactionStmt, TransactionStmtKind, VariableSetKind, VariableSetStmt, a_const,
};
use pg_query::{Node, NodeEnum};

/// What a statement means for the unit it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs in a transaction with its neighbours.
    Plain,
    /// `ALTER TYPE ... ADD VALUE`: runs in a transaction, but the value may be used only after the commit.
    EnumValue,
    /// Runs alone; PostgreSQL refuses it in a transaction. The command's tag is for messages.
    Alone(AloneProbe, &'static str),
    /// `BEGIN` or `START TRANSACTION`.
    Begin,
    /// `COMMIT` or `END`.
    Commit,
    /// dbd cannot run it in a way that survives a crash.
    Refused(Refusal),
}

/// Why a statement is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

fn refused(code: Code, message: impl Into<String>, hint: &'static str) -> Role {
    Role::Refused(Refusal { code, message: message.into(), hint })
}

/// The role of a statement in a file that asks for no transaction: what may commit by itself runs alone.
pub(super) fn role_alone(node: &NodeEnum) -> Role {
    match node {
        NodeEnum::CallStmt(_) => Role::Alone(AloneProbe::Unknown, "CALL"),
        NodeEnum::DoStmt(_) => Role::Alone(AloneProbe::Unknown, "DO"),
        other => role(other),
    }
}

/// The role of a statement. Every command that calls `PreventInTransactionBlock` in PostgreSQL 13 to 18 and can be told
/// from its text is `Alone`.
///
/// Not told from the text: `REINDEX` and `CLUSTER` of a partitioned table, and a procedure that commits. They are left
/// in their transaction, where the rehearsal shows what PostgreSQL says.
pub(super) fn role(node: &NodeEnum) -> Role {
    use AloneProbe::{Repeatable, Unknown};
    let alone = Role::Alone;
    let repeatable_if = |condition: bool| if condition { Repeatable } else { Unknown };
    match node {
        NodeEnum::TransactionStmt(stmt) => transaction(stmt),
        NodeEnum::IndexStmt(stmt) if stmt.concurrent => alone(index_valid(stmt), "CREATE INDEX CONCURRENTLY"),
        NodeEnum::DropStmt(stmt) if stmt.concurrent => alone(index_gone(stmt), "DROP INDEX CONCURRENTLY"),
        NodeEnum::ReindexStmt(stmt) => match stmt.kind() {
            ReindexObjectType::ReindexObjectSchema => alone(Repeatable, "REINDEX SCHEMA"),
            ReindexObjectType::ReindexObjectSystem => alone(Repeatable, "REINDEX SYSTEM"),
            ReindexObjectType::ReindexObjectDatabase => alone(Repeatable, "REINDEX DATABASE"),
            _ if option(&stmt.params, "concurrently") == Some(true) => {
                let probe =
                    stmt.relation.as_ref().map(|relation| AloneProbe::Reindex { relation: qualified(relation) });
                alone(probe.unwrap_or(Repeatable), "REINDEX CONCURRENTLY")
            }
            _ => Role::Plain,
        },
        NodeEnum::VacuumStmt(stmt) if stmt.is_vacuumcmd => alone(Repeatable, "VACUUM"),
        NodeEnum::ClusterStmt(stmt) if stmt.relation.is_none() => alone(Repeatable, "CLUSTER"),
        NodeEnum::CreatedbStmt(_) => alone(Unknown, "CREATE DATABASE"),
        NodeEnum::DropdbStmt(stmt) => alone(repeatable_if(stmt.missing_ok), "DROP DATABASE"),
        NodeEnum::AlterDatabaseStmt(stmt) if options(&stmt.options).any(|o| o.defname == "tablespace") => {
            alone(Repeatable, "ALTER DATABASE SET TABLESPACE")
        }
        NodeEnum::CreateTableSpaceStmt(_) => alone(Unknown, "CREATE TABLESPACE"),
        NodeEnum::DropTableSpaceStmt(stmt) => alone(repeatable_if(stmt.missing_ok), "DROP TABLESPACE"),
        NodeEnum::AlterSystemStmt(_) => alone(Repeatable, "ALTER SYSTEM"),
        NodeEnum::AlterTableStmt(stmt) if stmt.cmds.iter().any(|cmd| detached(cmd).is_some()) => {
            let partition = stmt.cmds.iter().find_map(detached);
            let probe = stmt.relation.as_ref().zip(partition).map(|(table, partition)| AloneProbe::Detached {
                table: qualified(table),
                partition: qualified(partition),
            });
            alone(probe.unwrap_or(Unknown), "ALTER TABLE ... DETACH PARTITION CONCURRENTLY")
        }
        NodeEnum::CreateSubscriptionStmt(stmt)
            if option(&stmt.options, "create_slot").or(option(&stmt.options, "connect")) != Some(false) =>
        {
            alone(Unknown, "CREATE SUBSCRIPTION")
        }
        NodeEnum::AlterSubscriptionStmt(stmt) => alter_subscription(stmt),
        NodeEnum::DropSubscriptionStmt(stmt) => alone(repeatable_if(stmt.missing_ok), "DROP SUBSCRIPTION"),
        // A renamed value has an old one; an added value has none.
        NodeEnum::AlterEnumStmt(stmt) if stmt.old_val.is_empty() && !stmt.new_val.is_empty() => Role::EnumValue,
        NodeEnum::CopyStmt(stmt) if stmt.filename.is_empty() && !stmt.is_program => {
            let (words, hint) = if stmt.is_from {
                (
                    "COPY ... FROM STDIN takes its rows from psql, not from SQL",
                    "write the rows as INSERT ... VALUES; pg_dump does so with --inserts or --rows-per-insert",
                )
            } else {
                (
                    "COPY ... TO STDOUT sends rows to psql, and a migration has nobody to read them",
                    "remove the statement",
                )
            };
            refused(Code::UnreadableMigration, words, hint)
        }
        NodeEnum::DiscardStmt(stmt) if stmt.target() == DiscardMode::DiscardAll => refused(
            Code::TransactionControl,
            "DISCARD ALL gives up the locks that keep two deployments apart",
            "use RESET or DISCARD TEMP for what the migration itself has set",
        ),
        NodeEnum::VariableSetStmt(stmt) if stmt.kind() == VariableSetKind::VarSetMulti && is_transaction_mode(stmt) => {
            refused(
                Code::TransactionControl,
                "SET TRANSACTION comes too late: the transaction has already recorded that the migration runs",
                "remove it; migrations run at READ COMMITTED and take the locks they need",
            )
        }
        _ => Role::Plain,
    }
}

/// Whether the statement changes the session for the statements after it, beyond its own transaction.
pub(super) fn sets_session(node: &NodeEnum) -> bool {
    matches!(node, NodeEnum::VariableSetStmt(stmt) if !stmt.is_local && !is_transaction_mode(stmt))
}

/// Whether the statement leaves nothing behind but what it defines or changes.
pub(super) fn leaves_session_as_it_was(node: &NodeEnum) -> bool {
    use NodeEnum as N;
    matches!(
        node,
        N::AlterDomainStmt(_)
            | N::AlterEnumStmt(_)
            | N::AlterFunctionStmt(_)
            | N::AlterObjectSchemaStmt(_)
            | N::AlterOwnerStmt(_)
            | N::AlterPolicyStmt(_)
            | N::AlterSeqStmt(_)
            | N::AlterTableStmt(_)
            | N::CommentStmt(_)
            | N::CompositeTypeStmt(_)
            | N::CreateDomainStmt(_)
            | N::CreateEnumStmt(_)
            | N::CreateFunctionStmt(_)
            | N::CreatePolicyStmt(_)
            | N::CreateRangeStmt(_)
            | N::CreateSchemaStmt(_)
            | N::CreateSeqStmt(_)
            | N::CreateStatsStmt(_)
            | N::CreateStmt(_)
            | N::CreateTableAsStmt(_)
            | N::CreateTrigStmt(_)
            | N::DefineStmt(_)
            | N::DeleteStmt(_)
            | N::DropStmt(_)
            | N::GrantStmt(_)
            | N::IndexStmt(_)
            | N::InsertStmt(_)
            | N::RenameStmt(_)
            | N::RuleStmt(_)
            | N::TruncateStmt(_)
            | N::UpdateStmt(_)
            | N::ViewStmt(_)
    )
}

fn is_transaction_mode(stmt: &VariableSetStmt) -> bool {
    stmt.name.starts_with("TRANSACTION")
}

fn transaction(stmt: &TransactionStmt) -> Role {
    use TransactionStmtKind as Kind;
    let refuse = |words: &str, hint| refused(Code::TransactionControl, words, hint);
    const LEAVE_IT_OUT: &str = "remove it: a migration either commits as a whole or fails as a whole";
    const TWO_PHASE: &str = "two-phase commit leaves a transaction behind that only a person can end; commit plainly";
    match stmt.kind() {
        Kind::TransStmtBegin | Kind::TransStmtStart if stmt.options.is_empty() => Role::Begin,
        Kind::TransStmtBegin | Kind::TransStmtStart => refuse(
            "BEGIN asks for an isolation level or an access mode, and dbd opens the transaction itself",
            "write plain BEGIN, or leave it out: migrations run at READ COMMITTED, READ WRITE",
        ),
        Kind::TransStmtCommit if !stmt.chain => Role::Commit,
        Kind::TransStmtCommit => {
            refuse("COMMIT AND CHAIN carries a transaction over its own end", "write COMMIT; BEGIN")
        }
        Kind::TransStmtRollback => refuse("ROLLBACK throws away what the migration has done", LEAVE_IT_OUT),
        Kind::TransStmtPrepare => refuse("PREPARE TRANSACTION hands the transaction over to somebody else", TWO_PHASE),
        Kind::TransStmtCommitPrepared => refuse("COMMIT PREPARED ends a transaction of somebody else", TWO_PHASE),
        Kind::TransStmtRollbackPrepared => refuse("ROLLBACK PREPARED ends a transaction of somebody else", TWO_PHASE),
        Kind::TransStmtSavepoint | Kind::TransStmtRelease | Kind::TransStmtRollbackTo | Kind::Undefined => Role::Plain,
    }
}

fn index_valid(stmt: &IndexStmt) -> AloneProbe {
    match &stmt.relation {
        Some(relation) if !stmt.idxname.is_empty() => AloneProbe::IndexValid {
            schema: some(&relation.schemaname),
            table: qualified(relation),
            index: stmt.idxname.clone(),
        },
        // The server makes the name up, so a second attempt would build a second index.
        _ => AloneProbe::Unknown,
    }
}

fn index_gone(stmt: &DropStmt) -> AloneProbe {
    let [Node { node: Some(NodeEnum::List(name)) }] = stmt.objects.as_slice() else { return AloneProbe::Unknown };
    let parts: Vec<&str> = name
        .items
        .iter()
        .filter_map(|part| match &part.node {
            Some(NodeEnum::String(part)) => Some(part.sval.as_str()),
            _ => None,
        })
        .collect();
    match parts.as_slice() {
        [.., schema, index] => AloneProbe::IndexGone { schema: some(schema), index: (*index).to_owned() },
        [index] => AloneProbe::IndexGone { schema: None, index: (*index).to_owned() },
        [] => AloneProbe::Unknown,
    }
}

/// The partition that a command detaches concurrently.
fn detached(cmd: &Node) -> Option<&RangeVar> {
    let Some(NodeEnum::AlterTableCmd(cmd)) = &cmd.node else { return None };
    // FINALIZE, the second half of an interrupted detach, is welcome in a transaction.
    match cmd.def.as_ref().and_then(|def| def.node.as_ref()) {
        Some(NodeEnum::PartitionCmd(partition))
            if partition.concurrent && cmd.subtype() == AlterTableType::AtDetachPartition =>
        {
            partition.name.as_ref()
        }
        _ => None,
    }
}

fn alter_subscription(stmt: &AlterSubscriptionStmt) -> Role {
    use AlterSubscriptionType as Kind;
    let refreshes = option(&stmt.options, "refresh") != Some(false);
    match stmt.kind() {
        Kind::AlterSubscriptionRefresh => {
            Role::Alone(AloneProbe::Repeatable, "ALTER SUBSCRIPTION ... REFRESH PUBLICATION")
        }
        Kind::AlterSubscriptionSetPublication if refreshes => {
            Role::Alone(AloneProbe::Repeatable, "ALTER SUBSCRIPTION ... SET PUBLICATION")
        }
        Kind::AlterSubscriptionAddPublication if refreshes => {
            Role::Alone(AloneProbe::Unknown, "ALTER SUBSCRIPTION ... ADD PUBLICATION")
        }
        Kind::AlterSubscriptionDropPublication if refreshes => {
            Role::Alone(AloneProbe::Unknown, "ALTER SUBSCRIPTION ... DROP PUBLICATION")
        }
        // These two reach over to the publisher's slot.
        Kind::AlterSubscriptionOptions
            if options(&stmt.options).any(|option| option.defname == "failover" || option.defname == "two_phase") =>
        {
            Role::Alone(AloneProbe::Repeatable, "ALTER SUBSCRIPTION ... SET")
        }
        _ => Role::Plain,
    }
}

fn options(nodes: &[Node]) -> impl Iterator<Item = &DefElem> {
    nodes.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::DefElem(element)) => Some(element.as_ref()),
        _ => None,
    })
}

/// A yes-or-no option, as the server's `defGetBoolean` reads it; `None` when it is not given or not a yes or a no.
fn option(nodes: &[Node], name: &str) -> Option<bool> {
    let element = options(nodes).find(|element| element.defname == name)?;
    let yes_or_no = |text: &str| match text.to_ascii_lowercase().as_str() {
        "true" | "on" => Some(true),
        "false" | "off" => Some(false),
        _ => None,
    };
    let number = |value: i32| match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    match element.arg.as_ref().and_then(|arg| arg.node.as_ref()) {
        None => Some(true),
        Some(NodeEnum::Boolean(value)) => Some(value.boolval),
        Some(NodeEnum::Integer(value)) => number(value.ival),
        Some(NodeEnum::String(value)) => yes_or_no(&value.sval),
        // A word that is no reserved one, like `off`, is read as the name of a type.
        Some(NodeEnum::TypeName(value)) => match value.names.as_slice() {
            [Node { node: Some(NodeEnum::String(name)) }] => yes_or_no(&name.sval),
            _ => None,
        },
        Some(NodeEnum::AConst(value)) => match &value.val {
            Some(a_const::Val::Boolval(value)) => Some(value.boolval),
            Some(a_const::Val::Ival(value)) => number(value.ival),
            Some(a_const::Val::Sval(value)) => yes_or_no(&value.sval),
            _ => None,
        },
        Some(_) => None,
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The relation's name as SQL, fit for `to_regclass`.
pub(super) fn qualified(relation: &RangeVar) -> String {
    let parts = [relation.schemaname.as_str(), relation.relname.as_str()];
    parts.into_iter().filter(|part| !part.is_empty()).map(quote_ident).collect::<Vec<_>>().join(".")
}
