//! `dbd compare`.

use crate::cli::exit::ExitCode;
use crate::cli::render::comparison::Told;
use crate::cli::{Context, Outcome};
use crate::config::Config;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::ServerFacts;
use crate::domain::failure::Failure;
use crate::domain::migration::{formats, other_name, tables_beside};
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::comparison::Comparison;
use crate::domain::schema::data::{DataComparison, comparable};
use clap::ValueEnum;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Say what deploying one schema over another would change
///
/// Each side is an environment, a connection URL, `sandbox:<id>`, or a .sql file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The side that would be deployed
    source: String,
    /// The side it would be deployed over
    target: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Compare the rows, too: counts, content, and rows that refer to nothing
    #[arg(long)]
    data: bool,
    /// How the rows are brought together
    #[arg(long, value_enum, default_value_t = Via::Direct, requires = "data")]
    via: Via,
    /// How long comparing the rows may take; what there is no time for is sampled, or said not to be known
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = duration, requires = "data")]
    budget: Duration,
}

/// How two sides are brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    /// A connection to each side; hashes of whole tables are compared
    Direct,
    /// The source's server sees the target through postgres_fdw; rows are joined by key, and those that differ are named
    Fdw,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration::parse(text)
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
    Html,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let source = side(context, &config, &args.source).await?;
    let target = side(context, &config, &args.target).await?;
    let urls = match (&source, &target) {
        _ if !args.data => None,
        (Side::Database(source), Side::Database(target)) => Some((source.clone(), target.clone())),
        _ => {
            return Err(Failure::new(Code::BadArgument, "rows are compared between databases, not with a .sql file")
                .hint("load the file into a database and name that, or leave --data out")
                .into());
        }
    };
    let (source, target) = tokio::try_join!(source.catalog(&config), target.catalog(&config))?;
    // The program ends after this: giving the memory of many objects back, one by one, would be a thirtieth of the whole.
    let (source, target) = (ManuallyDrop::new(source), ManuallyDrop::new(target));
    let comparison = Comparison::new(&label(&args.source), &source, &label(&args.target), &target);
    let data = match &urls {
        None => None,
        Some((from, to)) => {
            let tables = comparable(&source, &target);
            let through_fdw = args.via == Via::Fdw;
            Some(crate::wire::database().compare_data(from, to, &tables, through_fdw, args.budget).await?)
        }
    };
    let same_data = data.as_ref().is_none_or(DataComparison::nothing_found);
    let mut shell = context.shell.borrow_mut();
    let told = Told { comparison: &comparison, data: data.as_ref() };
    match args.format {
        _ if shell.is_json() => shell.result_json(&told.json())?,
        Format::Json => shell.result_json(&told.json())?,
        Format::Markdown => shell.result(&told.markdown())?,
        Format::Html => shell.result(&told.html())?,
        Format::Text => {
            let color = shell.out_has_color();
            shell.result(&told.text(color))?;
        }
    }
    Ok(if comparison.identical() && same_data { ExitCode::Ok } else { ExitCode::Differences })
}

/// What people call a side; a URL without its password.
fn label(side: &str) -> String {
    match ConnectionUrl::parse_with_default_user(side, Some("-")) {
        Ok(url) => url.place(),
        Err(_) => side.to_owned(),
    }
}

/// One side, resolved.
enum Side {
    /// A database.
    Database(ConnectionUrl),
    /// A file, and where it is.
    File(PathBuf),
}

impl Side {
    async fn catalog(&self, config: &Config) -> Result<Catalog, Failure> {
        match self {
            Self::Database(url) => read(url, config).await,
            Self::File(path) => of_file(config, path).await,
        }
    }
}

async fn side(context: &Context, config: &Config, side: &str) -> Result<Side, Failure> {
    if let Some(id) = side.strip_prefix("sandbox:") {
        let found = crate::wire::sandboxes(config)?.find(id).await?;
        let url = found.ok_or_else(|| {
            Failure::new(Code::CannotCompare, format!("there is no sandbox `{id}`"))
                .hint("`dbd sandbox list` shows them")
        })?;
        return Ok(Side::Database(url));
    }
    if side.starts_with("postgres://") || side.starts_with("postgresql://") {
        let user = config.variable("PGUSER").or_else(|| config.variable("USER"));
        return Ok(Side::Database(ConnectionUrl::parse_with_default_user(side, user)?));
    }
    if side.ends_with(".sql") {
        return Ok(Side::File(context.directory.join(side)));
    }
    Ok(Side::Database(config.environment(side)?.database_url))
}

/// The tables in which tools that dbd knows note what is applied, and the one that the project's tool was told to use instead.
fn bookkeeping(config: &Config) -> Vec<String> {
    let usual = formats().iter().map(|format| format.usual_table().to_owned());
    // Without a folder there is still what dbd was told.
    let own = crate::wire::migrations(config).and_then(|migrations| migrations.table()).unwrap_or_else(|_| {
        config.migrations.table.as_deref().and_then(|table| other_name(table, "public.").ok().flatten())
    });
    usual.chain(own).collect()
}

/// The catalog, without the bookkeeping of any tool dbd knows.
pub(super) async fn read(url: &ConnectionUrl, config: &Config) -> Result<Catalog, Failure> {
    let tables = bookkeeping(config);
    crate::wire::database().catalog(url, &tables.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// A catalog that was read with the bookkeeping of some, without that of any.
pub(super) fn without_bookkeeping(catalog: &Catalog, config: &Config) -> Catalog {
    let tables = bookkeeping(config);
    let all: Vec<String> = tables.iter().flat_map(|table| tables_beside(table)).chain(tables.clone()).collect();
    catalog.without_tables(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A file is loaded into a sandbox of its own, which is removed again.
async fn of_file(config: &Config, path: &Path) -> Result<Catalog, Failure> {
    let text = fs_err::read_to_string(path).map_err(|error| {
        Failure::new(Code::FileUnreadable, format!("{} cannot be read", path.display())).source(&error)
    })?;
    let sandboxes = crate::wire::sandboxes(config)?;
    let id = format!("compare-{}-{}", std::process::id(), crate::wire::now_ms());
    let sandbox = sandboxes.create(&id, &like_nothing(), false).await?;
    let loaded = load(config, &id, &sandbox.url, path, text).await;
    let catalog = match loaded {
        Ok(()) => read(&sandbox.url, config).await,
        Err(failure) => Err(failure),
    };
    sandboxes.remove(&id).await?;
    catalog
}

async fn load(config: &Config, id: &str, url: &ConnectionUrl, path: &Path, _text: String) -> Result<(), Failure> {
    // psql reads what pg_dump writes: COPY from the script, \restrict, and all.
    crate::wire::backups(config, id).run_file(url, path).await
}

/// A database of no particular kind: UTF-8, ordered by bytes.
pub(super) fn like_nothing() -> ServerFacts {
    ServerFacts {
        version_num: 0,
        version: String::new(),
        system_identifier: None,
        database: "postgres".to_owned(),
        role: "postgres".to_owned(),
        superuser: true,
        size_bytes: 0,
        encoding: "UTF8".to_owned(),
        collate: "C.UTF-8".to_owned(),
        ctype: "C.UTF-8".to_owned(),
        locale_provider: "c".to_owned(),
        locale: None,
        has_public: true,
        server_settings: Vec::new(),
        read_only: false,
        pooled: false,
        owns_database: true,
        member_of: Vec::new(),
        session_settings: Vec::new(),
        roles: Vec::new(),
    }
}
