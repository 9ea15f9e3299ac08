//! Sandboxes that are databases of the server the user named, and what both kinds need to make a database.

use super::*;

impl Sandboxes {
    pub(super) async fn create_configured(&self, order: &CreateOrder, cancel: &Cancel) -> Result<Sandbox, Failure> {
        let server = self.configured()?;
        let name = self.database_of(&order.id);
        if let Some(comment) = self.comment_of(server, &name, cancel).await?
            && (comment.dbd_sandbox != order.id
                || (comment.owner != Process::current() && comment.host == host() && comment.owner.is_alive()))
        {
            return Err(Failure::new(
                Code::Busy,
                format!(
                    "the sandbox `{}` on {} is in use by another process",
                    comment.dbd_sandbox,
                    host_and_port(server)
                ),
            ));
        }
        let server_major = self.drop_database(server, &name, cancel).await?;
        // Sessions carry the database's name, so that whatever outlives us is found and ended by the next attempt.
        let notes = self.create_database(server, &name, &name, server_major, &order.locale, cancel).await?;
        passed(Boundary::SandboxCreated, "configured server");
        let comment = Comment {
            dbd_sandbox: order.id.clone(),
            host: host(),
            owner: Process::current(),
            persistent: order.persistent,
        };
        let text = serde_json::to_string(&comment)
            .map_err(|error| Failure::new(Code::Bug, "a sandbox's comment cannot be written as JSON").source(&error))?;
        let sql = format!("COMMENT ON DATABASE {} IS {};\n", quote_ident(&name), quote_literal(&text));
        if let Err(failure) = self.ask(server, &name, &sql, cancel).await {
            let _ = self.drop_database(server, &name, &Cancel::never()).await;
            return Err(failure);
        }
        Ok(Sandbox {
            id: order.id.clone(),
            kind: SandboxKind::Configured,
            url: server.with_database(&name),
            location: SandboxLocation::Configured { database: name, server: host_and_port(server) },
            server_major,
            notes,
        })
    }

    /// The database of sandbox `id` on the configured server.
    #[must_use]
    pub fn database_of(&self, id: &str) -> String {
        database_of(id, &self.settings.whose)
    }

    pub(super) fn configured(&self) -> Result<&ConnectionUrl, Failure> {
        self.settings.configured.as_ref().ok_or_else(|| {
            Failure::new(Code::SandboxFailed, "no server for sandboxes is configured")
                .hint("set `[sandbox] server = { env = \"SANDBOX_POSTGRES_URL\" }`, and that variable")
        })
    }

    /// The configured server, if it is the one the location is on.
    pub(super) fn server_of(&self, location: &SandboxLocation) -> Result<&ConnectionUrl, Failure> {
        let server = self.configured()?;
        match location {
            SandboxLocation::Configured { database, server: made_on } if *made_on != host_and_port(server) => {
                Err(Failure::new(
                    Code::SandboxFailed,
                    format!("the sandbox `{database}` is on {made_on}, but {} is configured", host_and_port(server)),
                )
                .hint("configure that server again, or drop the database there by hand"))
            }
            _ => Ok(server),
        }
    }

    pub(super) async fn comment_of(
        &self,
        server: &ConnectionUrl,
        database: &str,
        cancel: &Cancel,
    ) -> Result<Option<Comment>, Failure> {
        let sql = format!(
            "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = {}",
            quote_literal(database)
        );
        let rows = self.ask(server, "dbd", &sql, cancel).await?;
        Ok(rows.first().and_then(|comment| serde_json::from_str(comment).ok()))
    }

    /// Gives a database whose owner is gone another name, which only whoever is to drop it knows; `None` if it is in use, or not what it was:
    /// a run that was killed is resumed in a sandbox of the same name, perhaps at this moment. The server does both in one statement.
    pub(super) async fn set_aside(
        &self,
        server: &ConnectionUrl,
        name: &str,
        cancel: &Cancel,
    ) -> Result<Option<String>, Failure> {
        let described = |name: &str| {
            format!(
                "(SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = {})",
                quote_literal(name)
            )
        };
        let rows = self.ask(server, "dbd", &format!("SELECT {}", described(name)), cancel).await?;
        let Some(text) = rows.first() else { return Ok(None) };
        let unused = |comment: &Comment| !comment.persistent && comment.host == host() && !comment.owner.is_alive();
        if !serde_json::from_str::<Comment>(text).ok().is_some_and(|comment| unused(&comment)) {
            return Ok(None);
        }
        let gone =
            format!("{DATABASE_PREFIX}gone_{}", &blake3::hash(format!("{name} {text}").as_bytes()).to_hex()[..16]);
        let sql = format!(
            "SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity \
             WHERE datname = {literal} AND usesysid IS NOT NULL AND {now} = {text};\n\
             DO $dbd$ BEGIN ALTER DATABASE {ident} RENAME TO {gone}; \
             IF {then} IS DISTINCT FROM {text} THEN RAISE 'it is somebody else''s now'; END IF; END $dbd$;\n",
            literal = quote_literal(name),
            now = described(name),
            text = quote_literal(text),
            ident = quote_ident(name),
            then = described(&gone),
        );
        match self.ask(server, "dbd", &sql, cancel).await {
            Ok(_) => Ok(Some(gone)),
            // In use, somebody else's by now, or gone: whoever has it takes it away. Anything else is to be said.
            Err(failure)
                if ["55006", "P0001", "3D000"]
                    .iter()
                    .any(|state| failure.causes.iter().any(|cause| cause.contains(state))) =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Ends what an earlier attempt may still be doing on the server, then drops the database with all its sessions. Tells the server's
    /// major version.
    pub(super) async fn drop_database(
        &self,
        server: &ConnectionUrl,
        name: &str,
        cancel: &Cancel,
    ) -> Result<u32, Failure> {
        let fence = format!(
            "SELECT pg_catalog.current_setting('server_version_num'), count(pg_catalog.pg_terminate_backend(pid)) \
             FROM pg_catalog.pg_stat_activity \
             WHERE (application_name = {0} OR datname = {0}) AND pid <> pg_catalog.pg_backend_pid() AND usesysid IS NOT NULL",
            quote_literal(name)
        );
        let started = std::time::Instant::now();
        let mut pause = Duration::from_millis(5);
        let server_major = loop {
            let rows = self.ask(server, "dbd", &fence, cancel).await?;
            let (version, sessions) = rows.first().and_then(|row| row.split_once('|')).unwrap_or_default();
            if sessions == "0" {
                break major_of(server, version)?;
            }
            if started.elapsed() > FENCE_LIMIT {
                return Err(Failure::new(
                    Code::SandboxFailed,
                    format!("the sessions of the sandbox `{name}` do not end"),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        };
        let drop = format!("DROP DATABASE IF EXISTS {}", quote_ident(name));
        let force = if server_major >= 13 { " WITH (FORCE)" } else { "" };
        if let Err(failure) = self.ask(server, name, &format!("{drop}{force};\n"), cancel).await {
            if failure.code != Code::QueryFailed || force.is_empty() {
                return Err(failure);
            }
            // Only a superuser may force an autovacuum worker out; without FORCE the server sends it away by itself.
            self.ask(server, name, &format!("{drop};\n"), cancel).await?;
        }
        Ok(server_major)
    }

    /// Makes an empty database with the target's encoding and collation, or the nearest this server has; says what differs.
    pub(super) async fn create_database(
        &self,
        server: &ConnectionUrl,
        name: &str,
        application_name: &str,
        server_major: u32,
        locale: &Locale,
        cancel: &Cancel,
    ) -> Result<Vec<String>, Failure> {
        let mut first_failure = None;
        for (options, note) in locale_choices(locale, server_major) {
            let sql = format!("CREATE DATABASE {} TEMPLATE template0{options};\n", quote_ident(name));
            match self.ask(server, application_name, &sql, cancel).await {
                Ok(_) => return Ok(note.into_iter().collect()),
                // Anything but a refused statement would fail the same way again.
                Err(failure) if failure.code != Code::QueryFailed => return Err(failure),
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        let causes = first_failure.map(|failure| failure.causes).unwrap_or_default();
        let mut failure =
            Failure::new(Code::SandboxFailed, format!("the sandbox's database `{name}` could not be made"));
        failure.causes = causes;
        Err(failure)
    }

    pub(super) async fn server_major(&self, server: &ConnectionUrl, cancel: &Cancel) -> Result<u32, Failure> {
        let rows = self.ask(server, "dbd", "SHOW server_version_num", cancel).await?;
        major_of(server, rows.first().map_or("", String::as_str))
    }

    pub(super) async fn ask(
        &self,
        server: &ConnectionUrl,
        application_name: &str,
        sql: &str,
        cancel: &Cancel,
    ) -> Result<Vec<String>, Failure> {
        query_as(&self.settings.client, server, application_name, sql, cancel).await
    }
}

/// Options of `CREATE DATABASE` to be tried in turn, each with what it leaves different.
pub(super) fn locale_choices(locale: &Locale, server_major: u32) -> Vec<(String, Option<String>)> {
    let option = |name: &str, value: &str| {
        if value.is_empty() { String::new() } else { format!(" {name} {}", quote_literal(value)) }
    };
    let encoding = option("ENCODING", &locale.encoding);
    let libc = format!("{}{}", option("LC_COLLATE", &locale.collate), option("LC_CTYPE", &locale.ctype));
    let exact = match (locale.provider, &locale.locale) {
        (Some('i'), Some(name)) if server_major >= 15 => {
            format!("{libc} LOCALE_PROVIDER icu{}", option("ICU_LOCALE", name))
        }
        (Some('b'), Some(name)) if server_major >= 17 => {
            format!("{libc} LOCALE_PROVIDER builtin{}", option("BUILTIN_LOCALE", name))
        }
        (Some(_), _) if server_major >= 15 => format!("{libc} LOCALE_PROVIDER libc"),
        _ => libc.clone(),
    };
    let wanted = match (&locale.locale, locale.collate.as_str()) {
        (Some(name), _) => name.clone(),
        (None, collate) => collate.to_owned(),
    };
    let note = |used: &str| {
        Some(format!("the sandbox sorts by the collation `{used}`: its server does not have the target's, `{wanted}`"))
    };
    let plain = if server_major >= 15 { " LOCALE_PROVIDER libc" } else { "" };
    vec![
        (format!("{encoding}{exact}"), None),
        (format!("{encoding} LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'{plain}"), note("C.UTF-8")),
        (format!("{encoding} LC_COLLATE 'C' LC_CTYPE 'C'{plain}"), note("C")),
    ]
}

/// The database of a sandbox on the configured server: its id, and a hash of it and of whose it is, if that is told.
#[must_use]
pub fn database_of(id: &str, whose: &str) -> String {
    let name = format!("{DATABASE_PREFIX}{}", id.replace('-', "_").to_ascii_lowercase());
    if whose.is_empty() && name.len() <= NAME_LIMIT {
        return name;
    }
    let hash = &blake3::hash(format!("{whose}\0{id}").as_bytes()).to_hex()[..12];
    format!("{}_{hash}", &name[..name.len().min(NAME_LIMIT - 13)])
}

pub(super) fn host_and_port(url: &ConnectionUrl) -> String {
    format!("{}:{}", url.host(), url.port())
}

/// The name of this machine, as the owner of a database on a server that other machines use too.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The major version in `server_version_num`, as `server` told it.
fn major_of(server: &ConnectionUrl, version_num: &str) -> Result<u32, Failure> {
    let number: Option<u32> = version_num.parse().ok();
    number.map(|number| number / 10_000).ok_or_else(|| {
        Failure::new(Code::QueryFailed, format!("the version of the server {} cannot be read", host_and_port(server)))
    })
}
