//! A PostgreSQL connection URL: what may be shown of it, and what may not.

use super::code::Code;
use super::failure::Failure;
use super::secret::Secret;
use std::fmt;
use url::Url;

/// A connection URL. Its `Display` and `Debug` leave the password out; [`ConnectionUrl::expose`] does not.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionUrl {
    url: Url,
    password: Option<Secret>,
}

impl ConnectionUrl {
    /// Reads `postgres://user:password@host:port/database?option=value`.
    ///
    /// A socket folder is given as `?host=/folder`. The database defaults to the user's name, as in libpq.
    ///
    /// # Errors
    /// [`Code::BadDatabaseUrl`]; the message never repeats the text, as it may hold a password.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        Self::parse_with_default_user(text, None)
    }

    /// Reads a URL like [`ConnectionUrl::parse`]; one that names no user is taken to mean `default_user`, as libpq does with the
    /// name of the operating system's user.
    ///
    /// # Errors
    /// [`Code::BadDatabaseUrl`]; the message never repeats the text, as it may hold a password.
    pub fn parse_with_default_user(text: &str, default_user: Option<&str>) -> Result<Self, Failure> {
        let bad = |why: &str| {
            Failure::new(Code::BadDatabaseUrl, format!("the database URL cannot be read: {why}")).hint(
                "write it as postgres://user:password@host:5432/database, with special characters percent-encoded",
            )
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        // `postgres://user@/db?host=/socket` is fine for libpq, but the `url` crate wants a host after a user.
        let with_host = insert_host(text);
        let url = Url::parse(with_host.as_deref().unwrap_or(text)).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(bad(&format!("its scheme is `{}`, not `postgres`", url.scheme())));
        }
        if url.cannot_be_a_base() {
            return Err(bad("`//` is missing after the scheme"));
        }
        let password = url.password().map(|password| Secret::new(decode(password)));
        let mut this = Self { url, password };
        if this.host().is_empty() || (with_host.is_some() && this.option("host").is_none()) {
            return Err(bad("it names no host"));
        }
        if this.user().is_empty() {
            let user =
                default_user.map(str::trim).filter(|user| !user.is_empty()).ok_or_else(|| bad("it names no user"))?;
            if this.url.set_username(user).is_err() {
                this.url.query_pairs_mut().append_pair("user", user);
            }
        }
        Ok(this)
    }

    /// The URL of `database` on the socket in `folder`, as `user`, without a password.
    ///
    /// # Panics
    /// Never for a folder and names that are plain paths and identifiers.
    #[must_use]
    pub fn of_socket(folder: &str, user: &str, database: &str) -> Self {
        let mut url = Url::parse("postgresql://localhost/").expect("a constant");
        url.query_pairs_mut().append_pair("host", folder);
        url.set_path(&format!("/{database}"));
        let _ = url.set_username(user);
        Self { url, password: None }
    }

    /// The host, or the socket's folder. `?host=` wins over the host in the middle, as in libpq.
    #[must_use]
    pub fn host(&self) -> String {
        self.option("host").unwrap_or_else(|| {
            decode(self.url.host_str().unwrap_or_default()).trim_start_matches('[').trim_end_matches(']').to_owned()
        })
    }

    /// The port; 5432 if none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port().or_else(|| self.option("port").and_then(|port| port.parse().ok())).unwrap_or(5432)
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> String {
        match self.url.username() {
            "" => self.option("user").unwrap_or_default(),
            user => decode(user),
        }
    }

    /// The password, if the URL holds one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The database; the user's name if none is given.
    #[must_use]
    pub fn database(&self) -> String {
        match self.url.path().trim_start_matches('/') {
            "" => self.option("dbname").unwrap_or_else(|| self.user()),
            name => decode(name),
        }
    }

    /// One option of the query part.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Every option of the query part, in order.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        self.url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
    }

    /// `sslmode` as libpq reads it; `prefer` if none is given.
    #[must_use]
    pub fn ssl_mode(&self) -> String {
        self.option("sslmode").unwrap_or_else(|| "prefer".to_owned())
    }

    /// Whether the host is a socket's folder.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.host().starts_with('/')
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("/{database}"));
        Self { url, password: self.password.clone() }
    }

    /// The same place, with sessions that act as `role`.
    #[must_use]
    pub fn acting_as(&self, role: &str) -> Self {
        let mut url = self.url.clone();
        // A blank or a backslash within a value is escaped by a backslash, as libpq's `options` wants it.
        let escaped = role.replace('\\', "\\\\").replace(' ', "\\ ");
        url.query_pairs_mut().append_pair("options", &format!("-c role={escaped}"));
        // A form writes a blank as a plus, which libpq takes for a plus.
        let query = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(query.as_deref());
        Self { url, password: self.password.clone() }
    }

    /// The whole URL with its password: for the wire and for a child's environment, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.url.as_str()
    }

    /// What libpq's programs need in their environment to connect here. Holds the password.
    #[must_use]
    pub fn libpq_environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![
            ("PGHOST".to_owned(), self.host()),
            ("PGPORT".to_owned(), self.port().to_string()),
            ("PGUSER".to_owned(), self.user()),
            ("PGDATABASE".to_owned(), self.database()),
        ];
        if let Some(password) = &self.password {
            environment.push(("PGPASSWORD".to_owned(), password.expose().to_owned()));
        }
        let known = [
            ("sslmode", "PGSSLMODE"),
            ("sslrootcert", "PGSSLROOTCERT"),
            ("sslcert", "PGSSLCERT"),
            ("sslkey", "PGSSLKEY"),
            ("channel_binding", "PGCHANNELBINDING"),
            ("options", "PGOPTIONS"),
            ("connect_timeout", "PGCONNECT_TIMEOUT"),
            ("target_session_attrs", "PGTARGETSESSIONATTRS"),
        ];
        for (option, variable) in known {
            if let Some(value) = self.option(option) {
                environment.push((variable.to_owned(), value));
            }
        }
        environment
    }

    /// Where this leads, without user or password: `host:port/database`.
    #[must_use]
    pub fn place(&self) -> String {
        if self.is_socket() {
            format!("{}/{}", self.host(), self.database())
        } else {
            format!("{}:{}/{}", self.host(), self.port(), self.database())
        }
    }
}

/// The URL with `localhost` after a user that no host follows; `None` if there is no such gap.
fn insert_host(text: &str) -> Option<String> {
    let start = text.find("://")? + 3;
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    text[start..end].ends_with('@').then(|| format!("{}localhost{}", &text[..end], &text[end..]))
}

fn decode(text: &str) -> String {
    // form_urlencoded would turn `+` into a blank; in user, password and path it stands for itself.
    url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B").replace('&', "%26")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

impl fmt::Display for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user(), self.place())
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_comes_apart() {
        let url =
            ConnectionUrl::parse("postgresql://us%40er:p%2Fa+ss@db.example.com:6543/shop?sslmode=require").unwrap();
        assert_eq!(url.user(), "us@er");
        assert_eq!(url.password().unwrap().expose(), "p/a+ss");
        assert_eq!((url.host().as_str(), url.port(), url.database().as_str()), ("db.example.com", 6543, "shop"));
        assert_eq!(url.ssl_mode(), "require");
        assert_eq!(url.to_string(), "us@er@db.example.com:6543/shop");
        assert!(!format!("{url:?} {url}").contains("a+ss"));
    }

    #[test]
    fn a_socket_url_comes_apart() {
        for text in ["postgres://me@localhost/shop?host=/run/pg", "postgres://me@%2Frun%2Fpg/shop"] {
            let url = ConnectionUrl::parse(text).unwrap();
            assert_eq!((url.host().as_str(), url.database().as_str()), ("/run/pg", "shop"), "{text}");
            assert!(url.is_socket());
        }
        let url = ConnectionUrl::of_socket("/tmp/x", "postgres", "copy");
        assert_eq!((url.host().as_str(), url.user().as_str(), url.database().as_str()), ("/tmp/x", "postgres", "copy"));
    }

    #[test]
    fn a_missing_user_is_filled_in() {
        for text in ["postgres://db.example.com/shop", "postgres:///shop?host=/run/pg", "postgres://:pw@h/shop"] {
            let url = ConnectionUrl::parse_with_default_user(text, Some("m@e")).unwrap();
            assert_eq!((url.user().as_str(), url.database().as_str()), ("m@e", "shop"), "{text}");
            assert_eq!(ConnectionUrl::parse(url.expose()).unwrap().user(), "m@e", "{text}");
            assert!(ConnectionUrl::parse_with_default_user(text, Some(" ")).is_err(), "{text}");
        }
        let url = ConnectionUrl::parse_with_default_user("postgres://you@h/shop", Some("me")).unwrap();
        assert_eq!(url.user(), "you");
    }

    #[test]
    fn a_user_without_a_host_needs_a_socket() {
        let url = ConnectionUrl::parse("postgres://me:pw@/shop?host=/run/pg").unwrap();
        assert_eq!((url.host().as_str(), url.user().as_str()), ("/run/pg", "me"));
        assert!(ConnectionUrl::parse("postgres://me@/shop").is_err());
    }

    #[test]
    fn what_cannot_be_read_is_said_without_repeating_it() {
        for text in ["", "mysql://a:hunter2@b/c", "postgres:a", "hunter2", "postgres://h/db"] {
            let failure = ConnectionUrl::parse(text).unwrap_err();
            assert_eq!(failure.code, Code::BadDatabaseUrl);
            assert!(!format!("{failure:?}").contains("hunter2"), "{text}");
        }
    }
}
