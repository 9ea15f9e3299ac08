//! Connecting: encryption, the session's name, and the server's errors in our words.

use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long connecting may take unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Has the server notice a client that is gone, where it can (PostgreSQL 14 and newer, on most systems): a zombie ends by itself. Where it
/// cannot, nothing happens.
pub const NOTICE_DEAD_CLIENTS: &str = "DO $dbd$ BEGIN PERFORM pg_catalog.set_config('client_connection_check_interval', '500ms', false); \
     EXCEPTION WHEN undefined_object OR invalid_parameter_value THEN NULL; END $dbd$;";

/// Says, behind [`NOTICE_DEAD_CLIENTS`], whether this server can.
const CAN_NOTICE: &str =
    "SELECT pg_catalog.current_setting('client_connection_check_interval', true) = '500ms' AS can_notice_dead_clients;";

/// As [`NOTICE_DEAD_CLIENTS`] where it is known that the server can: a block of PL/pgSQL costs more than all the other settings of a step together.
const NOTICE_DEAD_CLIENTS_AGAIN: &str = "SET client_connection_check_interval = '500ms';";

/// A session. Once its client is dropped the server is told goodbye and the connection closes.
pub struct Session {
    /// The client.
    pub client: Client,
    /// The server's major version, as it introduced itself.
    pub major: u32,
    can_notice_dead_clients: OnceLock<bool>,
    notices: Arc<Mutex<Vec<String>>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Session {
    /// Takes the messages the server sent beside its answers, oldest first.
    pub fn take_notices(&self) -> Vec<String> {
        self.notices.lock().map(|mut notices| std::mem::take(&mut *notices)).unwrap_or_default()
    }

    /// As [`NOTICE_DEAD_CLIENTS`], in the cheapest way for this session. Its answer is for [`Session::learn`].
    pub fn notice_dead_clients(&self) -> Cow<'static, str> {
        match self.can_notice_dead_clients.get() {
            None => Cow::Owned(format!("{NOTICE_DEAD_CLIENTS} {CAN_NOTICE}")),
            Some(true) => Cow::Borrowed(NOTICE_DEAD_CLIENTS_AGAIN),
            Some(false) => Cow::Borrowed(""),
        }
    }

    /// Learns from an answer what [`Session::notice_dead_clients`] asked.
    pub fn learn(&self, answer: &[SimpleQueryMessage]) {
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get("can_notice_dead_clients").ok(),
            _ => None,
        });
        if let Some(can) = row {
            // Once is enough.
            let _ = self.can_notice_dead_clients.set(can == Some("t"));
        }
    }

    /// Ends the session and waits, for a moment, until the server was told.
    pub async fn close(self) {
        let Session { client, driver, .. } = self;
        drop(client);
        let _ = tokio::time::timeout(Duration::from_secs(2), driver).await;
    }
}

/// Connects, as `application_name`.
///
/// # Errors
/// A [`Failure`] that names the place, never the password; transient where a later try may succeed.
pub async fn connect(url: &ConnectionUrl, application_name: &str) -> Result<Session, Failure> {
    let config = config(url, application_name)?;
    let mode = url.ssl_mode();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let (client, major, driver) = if url.is_socket() || mode == "disable" {
        let (client, connection) = config.connect(NoTls).await.map_err(|error| refused(url, &error))?;
        let major = major(connection.parameter("server_version"));
        (client, major, tokio::spawn(drive(connection, notices.clone())))
    } else {
        let tls = MakeRustlsConnect::new(tls_config(url, &mode)?);
        let (client, connection) = config.connect(tls).await.map_err(|error| refused(url, &error))?;
        let major = major(connection.parameter("server_version"));
        (client, major, tokio::spawn(drive(connection, notices.clone())))
    };
    Ok(Session { client, major, can_notice_dead_clients: OnceLock::new(), notices, driver })
}

/// The major version of `15.4 (Debian ...)`; 0 if it does not say so.
fn major(version: Option<&str>) -> u32 {
    let digits = version.unwrap_or_default().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// How long a look at the target waits behind somebody's lock, in milliseconds.
const LOOK_LOCK_TIMEOUT_MS: u64 = 30_000;

/// A session that can only look, by the server's own word: its one transaction is `READ ONLY` and never committed. A query that fails
/// ends it. Nothing is set beyond the transaction, which a pooler would hand on to somebody else.
///
/// It waits for locks, but not for long: PostgreSQL takes one even for counting rows and for putting a view into words, and somebody may
/// hold the table for hours.
///
/// # Errors
/// As [`connect`].
pub async fn look(url: &ConnectionUrl, application_name: &str) -> Result<Session, Failure> {
    begin(url, application_name, "BEGIN READ ONLY").await
}

/// As [`look`], and everything is seen as it was at one moment: that of the first query.
pub async fn look_at_one_moment(url: &ConnectionUrl, application_name: &str) -> Result<Session, Failure> {
    begin(url, application_name, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}

async fn begin(url: &ConnectionUrl, application_name: &str, begin: &str) -> Result<Session, Failure> {
    let session = connect(url, application_name).await?;
    let begin = format!("{begin}; SET LOCAL lock_timeout = '{LOOK_LOCK_TIMEOUT_MS}ms'");
    session
        .client
        .batch_execute(&begin)
        .await
        .map_err(|error| query_failed(url, "beginning a read-only transaction", &error))?;
    Ok(session)
}

async fn drive<S, T>(mut connection: Connection<S, T>, notices: Arc<Mutex<Vec<String>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match std::future::poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => {
                if let Ok(mut notices) = notices.lock() {
                    notices.push(notice.message().to_owned());
                }
            }
            Some(Ok(_)) => {}
            // Whoever waits for an answer is told of the error by the client.
            Some(Err(_)) | None => return,
        }
    }
}

fn config(url: &ConnectionUrl, application_name: &str) -> Result<Config, Failure> {
    let mut config = Config::new();
    config.port(url.port()).user(url.user()).dbname(url.database()).application_name(application_name);
    if url.is_socket() {
        config.host_path(url.host());
    } else {
        config.host(url.host());
    }
    if let Some(password) = url.password() {
        config.password(password.expose());
    }
    if let Some(options) = url.option("options") {
        config.options(options);
    }
    let seconds = url.option("connect_timeout").and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
    config.connect_timeout(seconds.map_or(CONNECT_TIMEOUT, Duration::from_secs));
    config.keepalives_idle(Duration::from_secs(30));
    config.ssl_mode(match url.ssl_mode().as_str() {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        "require" | "verify-ca" | "verify-full" => SslMode::Require,
        other => {
            return Err(Failure::new(
                Code::BadDatabaseUrl,
                format!("the database URL asks for an unknown sslmode `{other}`"),
            )
            .hint("use one of disable, prefer, require, verify-ca, verify-full"));
        }
    });
    Ok(config)
}

/// What libpq does with each `sslmode`: `prefer` and `require` encrypt without asking who answers unless a root certificate is named;
/// `verify-ca` and `verify-full` ask (<https://www.postgresql.org/docs/current/libpq-ssl.html>).
fn tls_config(url: &ConnectionUrl, mode: &str) -> Result<ClientConfig, Failure> {
    let failed = |why: String| {
        Failure::new(Code::TlsFailed, format!("encryption for {} cannot be set up", url.place())).cause(why)
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let root = url.option("sslrootcert").filter(|path| path != "system");
    if root.is_none() && !mode.starts_with("verify") {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    let mut named = Vec::new();
    match root {
        Some(path) => {
            let pem = fs_err::read(&path).map_err(|error| failed(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| failed(format!("{path}: {error}")))?;
                roots.add(certificate.clone()).map_err(|error| failed(format!("{path}: {error}")))?;
                named.push(certificate);
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let verifier = Certified { inner, named, any_name: mode != "verify-full" };
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Takes what a trusted root signed, as libpq does: the host's name counts for `verify-full` alone, and a certificate that is itself the
/// root that was named is trusted although it is no end entity's (a self-signed server).
#[derive(Debug)]
struct Certified {
    inner: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl ServerCertVerifier for Certified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError, Error};
        match self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.any_name && self.named.iter().any(|root| root == end_entity) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes any certificate: what `sslmode=require` promises, encryption without identity.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why connecting failed.
fn refused(url: &ConnectionUrl, error: &tokio_postgres::Error) -> Failure {
    let place = url.place();
    if let Some(server) = error.as_db_error() {
        let said = server.message().to_owned();
        return match server.code() {
            &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Failure::new(Code::WrongPassword, format!("{place} refused user `{}` or the password", url.user()))
                    .cause(said)
                    .hint(
                        "check user and password in the database URL; special characters in it must be percent-encoded",
                    )
            }
            &SqlState::INVALID_CATALOG_NAME => {
                Failure::new(Code::NoSuchDatabase, format!("{place}: there is no database `{}`", url.database()))
                    .cause(said)
                    .hint(format!("create it with: createdb {}", url.database()))
            }
            &SqlState::CANNOT_CONNECT_NOW
            | &SqlState::TOO_MANY_CONNECTIONS
            | &SqlState::ADMIN_SHUTDOWN
            | &SqlState::CRASH_SHUTDOWN => {
                Failure::new(Code::CannotConnect, format!("{place} takes no connections right now"))
                    .cause(said)
                    .certainty(Certainty::Transient)
                    .hint("try again in a moment")
            }
            _ => Failure::new(Code::CannotConnect, format!("{place} refused the connection")).cause(said),
        };
    }
    let text = error.to_string();
    if text.contains("password missing") {
        return Failure::new(Code::WrongPassword, format!("{place} asks for a password and the URL holds none"))
            .hint("put it into the URL: postgres://user:password@host/database");
    }
    if text.contains("TLS") || text.contains("tls") {
        return Failure::new(Code::TlsFailed, format!("the encrypted connection to {place} could not be made"))
            .source(error)
            .hint("if the server has no TLS, say sslmode=disable; if its certificate is not publicly signed, say sslrootcert=/path/to/ca.pem");
    }
    Failure::new(Code::CannotConnect, format!("{place} cannot be reached"))
        .source(error)
        .certainty(Certainty::Transient)
        .hint("check that the server runs, that host and port are right, and that no firewall is in the way")
}

/// A query of ours that failed: not the user's SQL.
pub fn query_failed(url: &ConnectionUrl, what: &str, error: &tokio_postgres::Error) -> Failure {
    if lost(error) {
        return Failure::new(Code::ConnectionLost, format!("the connection to {} was lost while {what}", url.place()))
            .source(error)
            .certainty(Certainty::InDoubt)
            .hint("dbd looks at what is there before it goes on; `dbd resume` does the same later");
    }
    let failure = Failure::new(Code::QueryFailed, format!("{}: {what} failed", url.place()));
    match error.as_db_error() {
        Some(server) => {
            let mut failure = failure.cause(format!("{} (SQLSTATE {})", server.message(), server.code().code()));
            if let Some(detail) = server.detail() {
                failure = failure.cause(detail);
            }
            if server.code() == &SqlState::LOCK_NOT_AVAILABLE {
                failure.code = Code::LockTimeout;
                failure = failure.hint("end the session that holds the lock (pg_locks and pg_stat_activity name it), or wait until it is over");
            }
            if [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(server.code()) {
                // Two halves of one query reached different sessions of the server.
                failure = failure.hint(format!(
                    "a pooler in transaction mode does that ({}): use the direct URL of the server",
                    Code::PoolerInTheWay
                ));
            }
            if server.code() == &SqlState::INSUFFICIENT_PRIVILEGE {
                failure.code = Code::MissingPrivilege;
                failure =
                    failure.hint(format!("grant it to `{}`, or deploy as a role that owns the objects", url.user()));
            }
            failure
        }
        None => failure.source(error),
    }
}

/// Whether the connection is gone: closed, broken, or ended by the server.
pub fn lost(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error().map(DbError::code) {
        Some(code) => [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code),
        // Without a server's answer it is the wire or the protocol.
        None => true,
    }
}
