//! `dbd compare`.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome, render};
use crate::config::Config;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::ServerFacts;
use crate::domain::failure::Failure;
use crate::domain::migration::formats;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::comparison::Comparison;
use clap::ValueEnum;
use std::path::Path;

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
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let source = catalog(context, &config, &args.source).await?;
    let target = catalog(context, &config, &args.target).await?;
    let comparison = Comparison::new(&label(&args.source), &source, &label(&args.target), &target);
    let mut shell = context.shell.borrow_mut();
    match args.format {
        _ if shell.is_json() => shell.result_json(&render::comparison::json(&comparison))?,
        Format::Json => shell.result_json(&render::comparison::json(&comparison))?,
        Format::Markdown => shell.result(&render::comparison::markdown(&comparison))?,
        Format::Text => {
            let color = shell.out_has_color();
            shell.result(&render::comparison::text(&comparison, color))?;
        }
    }
    Ok(if comparison.identical() { ExitCode::Ok } else { ExitCode::Differences })
}

/// What people call a side; a URL without its password.
fn label(side: &str) -> String {
    match ConnectionUrl::parse_with_default_user(side, Some("-")) {
        Ok(url) => url.place(),
        Err(_) => side.to_owned(),
    }
}

async fn catalog(context: &Context, config: &Config, side: &str) -> Result<Catalog, Failure> {
    let named = |failure: Failure| match failure.code {
        Code::UnknownEnvironment | Code::NoDatabaseUrl => failure,
        _ => failure,
    };
    if let Some(id) = side.strip_prefix("sandbox:") {
        let found = crate::wire::sandboxes(config)?.find(id).await?;
        let url = found.ok_or_else(|| {
            Failure::new(Code::CannotCompare, format!("there is no sandbox `{id}`"))
                .hint("`dbd sandbox list` shows them")
        })?;
        return read(&url).await;
    }
    if side.starts_with("postgres://") || side.starts_with("postgresql://") {
        let user = config.variable("PGUSER").or_else(|| config.variable("USER"));
        return read(&ConnectionUrl::parse_with_default_user(side, user)?).await;
    }
    if side.ends_with(".sql") {
        return of_file(config, &context.directory.join(side)).await;
    }
    read(&config.environment(side).map_err(named)?.database_url).await
}

/// The catalog, without the bookkeeping of any tool dbd knows.
async fn read(url: &ConnectionUrl) -> Result<Catalog, Failure> {
    let tracking: Vec<&str> = formats().iter().map(|format| format.tracking().table).collect();
    crate::wire::database().catalog(url, &tracking).await
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
        Ok(()) => read(&sandbox.url).await,
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
