//! A proxy between dbd and a server that cuts the session of one migration at its COMMIT: before the server heard of it, or before the client did.

use super::pg::Server;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// When the session is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The COMMIT never arrives.
    BeforeCommit,
    /// The COMMIT arrives and is carried out; its answer never comes back.
    AfterCommit,
}

/// A proxy, for as long as the test process lives.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy before `server` that cuts the session of the second migration once.
    pub fn before(server: &'static Server, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let migrating = Arc::new(AtomicUsize::new(0));
        let counted = cuts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (cuts, migrating) = (counted.clone(), migrating.clone());
                std::thread::spawn(move || session(client, server, cut, &cuts, &migrating));
            }
        });
        Self { port, cuts }
    }

    /// How many sessions were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn session(mut client: TcpStream, server: &Server, cut: Cut, cuts: &AtomicUsize, migrating: &AtomicUsize) {
    let mut backend = UnixStream::connect(server.socket.join(".s.PGSQL.5432")).unwrap();
    let (mut from_backend, mut to_client) = (backend.try_clone().unwrap(), client.try_clone().unwrap());
    // Whether the answers still go back.
    let answers = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let wanted = answers.clone();
    let back = std::thread::spawn(move || {
        let mut bytes = [0; 16_384];
        // What the server says once nobody is to hear of it. The COMMIT is sent while the statements before it still run: an answer to one of
        // those does not say yet that it is carried out.
        let mut kept_back = Vec::new();
        loop {
            match from_backend.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(read) if wanted.load(Ordering::SeqCst) => {
                    if to_client.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                Ok(read) => {
                    kept_back.extend_from_slice(&bytes[..read]);
                    if kept_back.windows(7).any(|window| window == b"COMMIT\0") {
                        break;
                    }
                }
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut chosen = false;
    let mut bytes = [0; 16_384];
    while let Ok(read @ 1..) = client.read(&mut bytes) {
        let said = &bytes[..read];
        let has = |word: &[u8]| said.windows(word.len()).any(|window| window == word);
        if has(b"INSERT INTO dbd.ledger") {
            chosen = migrating.fetch_add(1, Ordering::SeqCst) == 1;
        }
        if chosen && has(b"COMMIT\0") {
            cuts.fetch_add(1, Ordering::SeqCst);
            if cut == Cut::BeforeCommit {
                break;
            }
            answers.store(false, Ordering::SeqCst);
        }
        if backend.write_all(said).is_err() {
            break;
        }
    }
    let _ = backend.shutdown(Shutdown::Write);
    if cut == Cut::BeforeCommit {
        let _ = client.shutdown(Shutdown::Both);
    }
    let _ = back.join();
    let _ = client.shutdown(Shutdown::Both);
}
