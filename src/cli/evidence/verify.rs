//! Verifying a bundle, offline, from its files alone; events are streamed, and of a period only one run at a time is held.

use super::keys;
use super::{
    AFTER, BEFORE, CONSISTENCY, CONTEXT, EVENTS, FILES, FIRST, Finding, KEY, LAST, LEDGER, LedgerFile, MANIFEST,
    Manifest, PARAMETERS, Parameters, REPORT_CSV, REPORT_JSON, REPORT_MD, SEAL, seal_text,
};
use crate::cli::render;
use crate::cli::render::audit::Window;
use crate::domain::audit::{self, Trail};
use crate::domain::code::Code;
use crate::domain::event::Recorded;
use crate::domain::evolve::fold;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::ledger::{LedgerRow, Steps, compare};
use data_encoding::{BASE64, HEXLOWER};
use dbd_journal::chain;
use dbd_journal::export::{Line, Walk};
use dbd_journal::merkle::{self, Tree, leaf};
use dbd_journal::note::{self, Checkpoint, PublicKey};
use dbd_journal::{Bad, Entry};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What a verification found, and what was verified.
pub(crate) struct Verified {
    /// What is wrong; empty if nothing is.
    pub findings: Vec<Finding>,
    /// What could not be checked, or is worth knowing.
    pub notes: Vec<String>,
    /// What the bundle says of itself, if that can be read.
    pub parameters: Option<Parameters>,
    /// The public key that signed, if it can be read.
    pub key: Option<String>,
    /// The last checkpoint, if its signature is right.
    pub checkpoint: Option<Checkpoint>,
    /// How many events of the window were looked at.
    pub events: u64,
    /// How many runs the report tells of.
    pub runs: u64,
    /// What the runs' events say about their targets.
    pub steps: Vec<Steps>,
}

/// What to hold a bundle against.
#[derive(Default)]
pub(crate) struct Against {
    /// The text of an earlier checkpoint's note.
    pub earlier: Option<String>,
    /// The public key, had from somebody else.
    pub key: Option<PublicKey>,
}

/// Verifies the bundle in `folder`.
///
/// # Errors
/// [`NoBundle`](Code::NoBundle) if it is none, or a file cannot be read for a reason of the system's. What is wrong with a bundle is in the value.
pub(crate) fn verify(folder: &Path, against: &Against) -> Result<Verified, Failure> {
    let mut one = Verification {
        folder: folder.to_owned(),
        out: Verified {
            findings: Vec::new(),
            notes: Vec::new(),
            parameters: None,
            key: None,
            checkpoint: None,
            events: 0,
            runs: 0,
            steps: Vec::new(),
        },
    };
    let (manifest, sha256) = one.manifest()?;
    one.files(&manifest)?;
    let key = one.key(against)?;
    one.seal(&manifest, &sha256, key.as_ref())?;
    let Some(parameters) = one.document::<Parameters>(PARAMETERS)? else { return Ok(one.out) };
    one.out.parameters = Some(parameters.clone());
    if parameters.origin != manifest.origin {
        one.find(Finding::new(Code::BundleFiles, "parameters.json is about another journal").of(PARAMETERS));
    }
    let notes = one.checkpoints(&parameters, key.as_ref(), against)?;
    let context = one.context(&parameters)?;
    let trail = one.trail(&context, &parameters)?;
    let places = one.walk(&parameters, &manifest, &context, &notes, trail.as_ref())?;
    if one.is_whole() {
        let Some(trail) = trail else { return Ok(one.out) };
        one.trust(&trail, key.as_ref());
        one.runs(&parameters, &context, places, &trail)?;
    } else {
        one.out.notes.push(
            "the runs, the report and the ledgers were not looked at: they follow from events that are not the signed ones"
                .to_owned(),
        );
    }
    Ok(one.out)
}

/// The checkpoints whose signatures are right.
#[derive(Default)]
struct Notes {
    first: Option<Checkpoint>,
    last: Option<Checkpoint>,
    earlier: Option<Checkpoint>,
}

/// Where the lines of each run stand in the file of events.
type Places = HashMap<String, Vec<u64>>;

struct Verification {
    folder: PathBuf,
    out: Verified,
}

impl Verification {
    fn find(&mut self, finding: Finding) {
        self.out.findings.push(finding);
    }

    /// Whether the events are the signed ones, so that it makes sense to look at what they say.
    fn is_whole(&self) -> bool {
        let broken = [Code::EventsChanged, Code::RootDiffers];
        !self.out.findings.iter().any(|finding| broken.contains(&finding.code))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file's text; `None`, which was said before, if it is not there, and a finding if it is no text.
    fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match fs_err::read(self.path(name)) {
            Ok(bytes) => Ok(String::from_utf8(bytes)
                .map_err(|_| self.find(Finding::new(Code::BundleFiles, format!("{name} is not UTF-8")).of(name)))
                .ok()),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(unreadable(&self.path(name), &error)),
        }
    }

    fn document<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        Ok(serde_json::from_str(&text)
            .map_err(|error| {
                let message = format!("{name} cannot be read: {:?} error in line {}", error.classify(), error.line());
                self.find(Finding::new(Code::BundleFiles, message).of(name));
            })
            .ok())
    }

    fn manifest(&mut self) -> Result<(Manifest, String), Failure> {
        let none = |why: String| {
            Failure::new(Code::NoBundle, format!("{} is no evidence bundle", self.folder.display()))
                .cause(why)
                .hint("name the folder that `dbd audit export --out` made")
        };
        let bytes = fs_err::read(self.path(MANIFEST)).map_err(|error| none(error.to_string()))?;
        let manifest = serde_json::from_slice(&bytes).map_err(|error| {
            none(format!("{MANIFEST} cannot be read: {:?} error in line {}", error.classify(), error.line()))
        })?;
        Ok((manifest, HEXLOWER.encode(&Sha256::digest(&bytes))))
    }

    /// Every file against its digest, and nothing else in the folder.
    fn files(&mut self, manifest: &Manifest) -> Result<(), Failure> {
        let of = |code, name: &str, message: String| Finding::new(code, message).of(name);
        for name in FILES.iter().filter(|name| !manifest.files.contains_key(**name)) {
            self.find(of(Code::BundleFiles, name, format!("{name} is not in the manifest")));
        }
        for (name, listed) in &manifest.files {
            if name.contains(['/', '\\']) || name == ".." {
                self.find(of(
                    Code::BundleFiles,
                    name,
                    format!("the manifest lists `{name}`, which is no file of a bundle"),
                ));
                continue;
            }
            match digest(&self.path(name)) {
                Ok((sha256, bytes)) if sha256 == listed.sha256 && bytes == listed.bytes => {}
                Ok((_, bytes)) => {
                    let size = match bytes.cmp(&listed.bytes) {
                        std::cmp::Ordering::Equal => String::new(),
                        std::cmp::Ordering::Less => format!(": {} bytes are missing", listed.bytes - bytes),
                        std::cmp::Ordering::Greater => format!(": it has {} bytes more", bytes - listed.bytes),
                    };
                    self.find(of(Code::BundleFiles, name, format!("{name} is not the file the manifest lists{size}")));
                }
                Err(error) if is_absent(&error) => self.find(of(Code::BundleFiles, name, format!("{name} is missing"))),
                Err(error) => return Err(unreadable(&self.path(name), &error)),
            }
        }
        let listing = fs_err::read_dir(&self.folder).map_err(|error| unreadable(&self.folder, &error))?;
        let mut unknown: Vec<String> = listing
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| ![MANIFEST, SEAL].contains(&name.as_str()) && !manifest.files.contains_key(name))
            .collect();
        unknown.sort();
        for name in unknown {
            self.find(of(Code::BundleFiles, &name, format!("{name} is in the folder and not in the manifest")));
        }
        Ok(())
    }

    fn key(&mut self, against: &Against) -> Result<Option<PublicKey>, Failure> {
        let own = self.text(KEY)?.and_then(|text| PublicKey::parse(&text));
        match &own {
            Some(own) => self.out.key = Some(own.to_string()),
            None => self.find(Finding::new(Code::BadSignature, format!("{KEY} holds no public key")).of(KEY)),
        }
        if let (Some(given), Some(own)) = (&against.key, &own)
            && given != own
        {
            let message = format!("the bundle is signed by {own}, and not by the key given, {given}");
            self.find(Finding::new(Code::StrangeKey, message).of(KEY));
        }
        Ok(own)
    }

    /// Opens a note of the bundle; a finding if its signature is not right.
    fn opened(&mut self, name: &str, key: Option<&PublicKey>) -> Result<Option<String>, Failure> {
        let (Some(text), Some(key)) = (self.text(name)?, key) else { return Ok(None) };
        match note::open(&text, [key]) {
            Ok((text, _)) => Ok(Some(text.to_owned())),
            Err(error) => {
                self.find(Finding::new(Code::BadSignature, format!("{name}: {error}")).of(name));
                Ok(None)
            }
        }
    }

    fn seal(&mut self, manifest: &Manifest, sha256: &str, key: Option<&PublicKey>) -> Result<(), Failure> {
        if !self.path(SEAL).is_file() {
            self.find(Finding::new(Code::BundleFiles, format!("{SEAL} is missing")).of(SEAL));
        }
        if let Some(text) = self.opened(SEAL, key)?
            && text != seal_text(&manifest.origin, sha256)
        {
            let message = format!("{MANIFEST} is not the one that was signed");
            self.find(Finding::new(Code::BadSignature, message).of(MANIFEST));
        }
        Ok(())
    }

    fn checkpoints(
        &mut self,
        parameters: &Parameters,
        key: Option<&PublicKey>,
        against: &Against,
    ) -> Result<Notes, Failure> {
        let mut notes = Notes::default();
        for (name, size) in [(FIRST, parameters.first_seq.saturating_sub(1)), (LAST, parameters.size)] {
            let Some(text) = self.opened(name, key)? else { continue };
            match Checkpoint::parse(&text) {
                Some(one) if one.origin == parameters.origin && one.size == size => {
                    if name == FIRST { &mut notes.first } else { &mut notes.last }.replace(one);
                }
                Some(one) => {
                    let message = format!(
                        "{name} is over {} events of {}, and the bundle is about {size} of {}",
                        one.size, one.origin, parameters.origin
                    );
                    self.find(Finding::new(Code::WindowDiffers, message).of(name));
                }
                None => self.find(Finding::new(Code::BadSignature, format!("{name} is no checkpoint")).of(name)),
            }
        }
        self.out.checkpoint.clone_from(&notes.last);
        if let (Some(first), Some(last)) = (&notes.first, &notes.last) {
            let proof = self.document::<Value>(CONSISTENCY)?;
            let hashes: Option<Vec<merkle::Hash>> = proof.as_ref().and_then(|proof| {
                proof["proof"]
                    .as_array()?
                    .iter()
                    .map(|hash| BASE64.decode(hash.as_str()?.as_bytes()).ok()?.try_into().ok())
                    .collect()
            });
            let holds = hashes
                .is_some_and(|hashes| merkle::is_consistent(first.size, &first.root, last.size, &last.root, &hashes));
            if !holds && self.path(CONSISTENCY).is_file() {
                let message = "the proof does not show that the first checkpoint is the beginning of the last";
                self.find(Finding::new(Code::HistoryRewritten, message).of(CONSISTENCY));
            }
        }
        notes.earlier = against.earlier.as_ref().and_then(|note| self.earlier(note, parameters));
        Ok(notes)
    }

    /// The checkpoint of `--prev`. Who signed it is looked at once the keys are known.
    fn earlier(&mut self, note: &str, parameters: &Parameters) -> Option<Checkpoint> {
        let text = note.rfind("\n\n").map(|at| &note[..=at]);
        match text.and_then(Checkpoint::parse) {
            Some(one) if one.origin != parameters.origin => {
                let message =
                    format!("the earlier checkpoint is of {}, and the bundle of {}", one.origin, parameters.origin);
                self.find(Finding::new(Code::HistoryRewritten, message));
                None
            }
            Some(one) if one.size > parameters.size => {
                let message = format!(
                    "the earlier checkpoint is over {} events, and the journal had {} when this bundle was made: the newest are missing",
                    one.size, parameters.size
                );
                self.find(Finding::new(Code::HistoryRewritten, message).at(parameters.size + 1));
                None
            }
            Some(one) => Some(one),
            None => {
                self.find(Finding::new(Code::BadSignature, "the earlier checkpoint is not written as one"));
                None
            }
        }
    }

    /// The events outside the window, each with its leaf still to be compared.
    fn context(&mut self, parameters: &Parameters) -> Result<BTreeMap<u64, Entry>, Failure> {
        let mut context = BTreeMap::new();
        let Some(file) = self.open(CONTEXT)? else { return Ok(context) };
        let mut before = 0;
        for (at, text) in (1..).zip(file.lines()) {
            let text = text.map_err(|error| unreadable(&self.path(CONTEXT), &error))?;
            let Some(line) = Line::parse(&text) else {
                self.find(Finding::new(Code::EventsChanged, format!("line {at} of {CONTEXT} is no event")).of(CONTEXT));
                continue;
            };
            let misplaced = line.seq <= before || (parameters.first_seq..=parameters.last_seq).contains(&line.seq);
            before = line.seq;
            match line.check(&parameters.origin, None) {
                Ok(_) if misplaced => {
                    let message = format!("event {} does not belong where it stands in {CONTEXT}", line.seq);
                    self.find(Finding::new(Code::EventsChanged, message).at(line.seq).of(CONTEXT));
                }
                Ok(entry) => drop(context.insert(entry.seq, entry)),
                Err(bad) => self.find(changed(&bad).of(CONTEXT)),
            }
        }
        Ok(context)
    }

    fn open(&self, name: &str) -> Result<Option<BufReader<fs_err::File>>, Failure> {
        match fs_err::File::open(self.path(name)) {
            Ok(file) => Ok(Some(BufReader::with_capacity(1 << 16, file))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(unreadable(&self.path(name), &error)),
        }
    }

    /// The audit stream, gathered from inside and outside the window.
    fn trail(&mut self, context: &BTreeMap<u64, Entry>, parameters: &Parameters) -> Result<Option<Trail>, Failure> {
        let mut stream: BTreeMap<u64, Entry> = context
            .iter()
            .filter(|(_, entry)| entry.run == audit::STREAM)
            .map(|(seq, entry)| (*seq, entry.clone()))
            .collect();
        if let Some(file) = self.open(EVENTS)? {
            for text in file.lines() {
                // What is no event is said by the walk.
                let Ok(text) = text else { break };
                if text.contains("\\\"run\\\":\\\"audit\\\"")
                    && let Some(entry) = Line::parse(&text).and_then(|line| line.check(&parameters.origin, None).ok())
                    && entry.run == audit::STREAM
                {
                    stream.insert(entry.seq, entry);
                }
            }
        }
        let mut trail = Trail::default();
        for entry in stream.values() {
            let taken = crate::wire::audit_recorded(entry)
                .and_then(|recorded| trail.take(&recorded).map_err(|misfit| misfit.why.to_owned()));
            if let Err(why) = taken {
                let message = format!("the audit stream is not legal at event {}: {why}", entry.seq);
                self.find(Finding::new(Code::IllegalHistory, message).at(entry.seq));
                return Ok(None);
            }
        }
        Ok(Some(trail))
    }

    /// Leaves before, events, leaves after: one walk over everything there is.
    fn walk(
        &mut self,
        parameters: &Parameters,
        manifest: &Manifest,
        context: &BTreeMap<u64, Entry>,
        notes: &Notes,
        trail: Option<&Trail>,
    ) -> Result<Places, Failure> {
        let mut walk = Roots { tree: Tree::default(), wanted: BTreeMap::new(), wrong: Vec::new() };
        let first = parameters.first_seq.saturating_sub(1);
        walk.want(first, notes.first.as_ref().map(|one| one.root), Code::RootDiffers, FIRST);
        walk.want(parameters.size, notes.last.as_ref().map(|one| one.root), Code::RootDiffers, LAST);
        if let Some(earlier) = &notes.earlier {
            walk.want(earlier.size, Some(earlier.root), Code::HistoryRewritten, "the earlier checkpoint");
        }
        for signed in trail.map(|trail| trail.signed.as_slice()).unwrap_or_default() {
            let root = BASE64.decode(signed.root.as_bytes()).ok().and_then(|root| root.try_into().ok());
            walk.want(
                signed.size,
                Some(root.unwrap_or_default()),
                Code::HistoryRewritten,
                "a checkpoint signed at an earlier export",
            );
        }
        walk.look();
        self.leaves(BEFORE, first, &mut walk, context)?;
        let places = self.events(parameters, manifest, context, &mut walk)?;
        self.leaves(AFTER, parameters.size.saturating_sub(parameters.last_seq), &mut walk, context)?;
        if walk.tree.size() != parameters.size && self.is_whole() {
            let message =
                format!("the bundle accounts for {} events, and the journal had {}", walk.tree.size(), parameters.size);
            self.find(Finding::new(Code::WindowDiffers, message));
        }
        self.edges(parameters, context);
        // Once an event is known to be changed, roots that differ are nothing new.
        let changed = self
            .out
            .findings
            .iter()
            .any(|finding| finding.code == Code::EventsChanged && finding.file.as_deref() != Some(MANIFEST));
        for (code, size, name) in walk.wrong.into_iter().filter(|(code, ..)| !changed || *code != Code::RootDiffers) {
            let message = match code {
                Code::HistoryRewritten => format!(
                    "the first {size} events are not those of {name}: the journal was rewritten somewhere up to event {size}"
                ),
                _ => format!("the first {size} events do not give the root in {name}"),
            };
            self.find(Finding::new(code, message).at(size));
        }
        Ok(places)
    }

    fn leaves(
        &mut self,
        name: &str,
        expected: u64,
        walk: &mut Roots,
        context: &BTreeMap<u64, Entry>,
    ) -> Result<(), Failure> {
        let Some(file) = self.open(name)? else { return Ok(()) };
        let mut count = 0;
        for text in file.lines() {
            let text = text.map_err(|error| unreadable(&self.path(name), &error))?;
            let hash = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| merkle::Hash::try_from(bytes).ok());
            count += 1;
            let seq = walk.tree.size() + 1;
            let Some(hash) = hash else {
                let message = format!("line {count} of {name} is no leaf");
                self.find(Finding::new(Code::EventsChanged, message).at(seq).of(name));
                return Ok(());
            };
            if let Some(entry) = context.get(&seq)
                && leaf(entry.rec.as_bytes()) != hash
            {
                let message = format!("event {seq} in {CONTEXT} is not the one that the journal has there");
                self.find(Finding::new(Code::EventsChanged, message).at(seq).of(CONTEXT));
            }
            walk.push(hash);
        }
        if count != expected {
            let message = format!("{name} holds {count} leaves, and there were {expected} such events");
            self.find(Finding::new(Code::WindowDiffers, message).of(name));
        }
        Ok(())
    }

    fn events(
        &mut self,
        parameters: &Parameters,
        manifest: &Manifest,
        context: &BTreeMap<u64, Entry>,
        walk: &mut Roots,
    ) -> Result<Places, Failure> {
        let mut places = Places::new();
        let Some(mut file) = self.open(EVENTS)? else { return Ok(places) };
        let genesis = || chain::parse(&parameters.genesis);
        let before = match parameters.first_seq {
            1 => genesis(),
            first => context.get(&(first - 1)).map(|entry| entry.hash),
        };
        let mut steps = Walk::new(&parameters.origin, parameters.first_seq, before);
        let (mut offset, mut bad, mut next) = (0_u64, false, parameters.first_seq);
        let (mut from, mut to) = (None, None);
        let mut text = String::new();
        loop {
            text.clear();
            let read = file.read_line(&mut text);
            let length = match read {
                Ok(0) => break,
                Ok(length) => length as u64,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    let message = format!("event {next} is not UTF-8");
                    self.find(Finding::new(Code::EventsChanged, message).at(next).of(EVENTS));
                    return Ok(places);
                }
                Err(error) => return Err(unreadable(&self.path(EVENTS), &error)),
            };
            let Some(line) = Line::parse(text.trim_end_matches('\n')) else {
                if !bad {
                    let message = format!("event {next} cannot be read: its line was cut or changed");
                    self.find(Finding::new(Code::EventsChanged, message).at(next).of(EVENTS));
                }
                return Ok(places);
            };
            walk.push(leaf(line.rec.as_bytes()));
            if !bad {
                match steps.step(&line) {
                    Ok(entry) => {
                        self.out.events += 1;
                        let early = entry.ts_ms < parameters.since_ms;
                        if early || entry.ts_ms >= parameters.until_ms {
                            let side = if early { "before it begins" } else { "after it ends" };
                            let message = format!("event {} is in the window and happened {side}", entry.seq);
                            self.find(Finding::new(Code::WindowDiffers, message).at(entry.seq).of(EVENTS));
                        }
                        from.get_or_insert_with(|| line.prev.clone());
                        to = Some(line.hash.clone());
                        places.entry(entry.run).or_default().push(offset);
                    }
                    Err(error) => {
                        self.find(changed(&error).of(EVENTS));
                        bad = true;
                    }
                }
            }
            next = line.seq + 1;
            offset += length;
        }
        if !bad && next != parameters.last_seq + 1 {
            let message = format!("the events end with {}, and the window with {}", next - 1, parameters.last_seq);
            self.find(Finding::new(Code::EventsChanged, message).at(next).of(EVENTS));
        }
        if !bad && from.zip(to) != manifest.chain {
            let message = "the chain of events does not begin and end with the hashes in the manifest";
            self.find(Finding::new(Code::EventsChanged, message).at(parameters.first_seq).of(MANIFEST));
        }
        Ok(places)
    }

    /// Nothing that belongs into the window was left out at its ends.
    fn edges(&mut self, parameters: &Parameters, context: &BTreeMap<u64, Entry>) {
        let sides = [
            (parameters.first_seq.saturating_sub(1), parameters.first_seq > 1, "before"),
            (parameters.last_seq + 1, parameters.last_seq < parameters.size, "after"),
        ];
        for (seq, _, side) in sides.into_iter().filter(|(_, there, _)| *there) {
            let outside = |ts_ms: i64| match side {
                "before" => ts_ms < parameters.since_ms,
                _ => ts_ms >= parameters.until_ms,
            };
            match context.get(&seq) {
                Some(entry) if outside(entry.ts_ms) => {}
                Some(_) => {
                    let message = format!("event {seq} happened in the window and was left out of it");
                    self.find(Finding::new(Code::WindowDiffers, message).at(seq).of(CONTEXT));
                }
                None => {
                    let message = format!("event {seq}, the one {side} the window, is not in {CONTEXT}");
                    self.find(Finding::new(Code::WindowDiffers, message).at(seq).of(CONTEXT));
                }
            }
        }
    }

    /// Whether the key is the one that the journal's own events put in place.
    fn trust(&mut self, trail: &Trail, key: Option<&PublicKey>) {
        let current = trail.current().map(|current| current.key.clone());
        if let Some(key) = key
            && current.as_deref() != Some(key.to_string().as_str())
        {
            let known = current.unwrap_or_else(|| "none".to_owned());
            let message =
                format!("the bundle is signed by {key}, and the key that the journal's events name is {known}");
            self.find(Finding::new(Code::StrangeKey, message).of(KEY));
        }
        for one in &trail.keys {
            match &one.after {
                Some((retired, Some(word))) if !keys::vouches(word, retired, &one.key) => {
                    let message =
                        format!("event {} says that {retired} vouched for {}, and it did not", one.seq, one.key);
                    self.find(Finding::new(Code::StrangeKey, message).at(one.seq));
                }
                Some((retired, None)) => self.out.notes.push(format!(
                    "event {}: {} put the key {} in the place of {retired}, which did not vouch for it",
                    one.seq, one.by.id, one.key
                )),
                _ => {}
            }
        }
    }

    /// Every run: legal, told as it is, and as its target's ledger has it.
    fn runs(
        &mut self,
        parameters: &Parameters,
        context: &BTreeMap<u64, Entry>,
        places: Places,
        trail: &Trail,
    ) -> Result<(), Failure> {
        let mut names: BTreeSet<RunId> = places.keys().filter_map(|run| RunId::parse(run)).collect();
        let within = |seq: u64| (parameters.first_seq..=parameters.last_seq).contains(&seq);
        names.extend(
            trail.reviews.iter().filter(|(_, all)| all.iter().any(|one| within(one.seq))).map(|(run, _)| run.clone()),
        );
        let mut outside: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for entry in context.values().filter(|entry| entry.seq <= parameters.last_seq) {
            outside.entry(&entry.run).or_default().push(entry);
        }
        let mut file = self.open(EVENTS)?;
        let (mut entries, mut environments) = (Vec::new(), BTreeSet::new());
        for name in names {
            let mut events: Vec<Recorded> = Vec::new();
            let mut unread = None;
            let mut take = |entry: &Entry| match crate::wire::recorded(entry.seen()) {
                Ok(recorded) => events.push(recorded),
                Err(why) => unread = unread.take().or(Some((entry.seq, why))),
            };
            outside.get(name.as_str()).into_iter().flatten().for_each(|entry| take(entry));
            for offset in places.get(name.as_str()).into_iter().flatten() {
                let Some(file) = &mut file else { continue };
                if let Some(entry) = line_at(file, *offset, &parameters.origin)
                    .map_err(|error| unreadable(&self.folder.join(EVENTS), &error))?
                {
                    take(&entry);
                }
            }
            if let Some((seq, why)) = unread {
                let message = format!("event {seq} of {name} cannot be read: {why}");
                self.find(Finding::new(Code::IllegalHistory, message).at(seq));
                continue;
            }
            match fold(&name, &events) {
                Ok(run) => {
                    let steps = Steps::of(&run, &events);
                    let environment = name.environment();
                    if parameters.environment.as_deref().is_none_or(|only| environment.as_str() == only) {
                        let reviews: Vec<_> = trail.reviews.get(&name).cloned().unwrap_or_default();
                        let reviews: Vec<_> =
                            reviews.into_iter().filter(|review| review.seq <= parameters.last_seq).collect();
                        entries.push(render::audit::entry(&run, &events, &reviews));
                        environments.insert(steps.target.clone());
                    }
                    self.out.steps.push(steps);
                }
                Err(misfit) => {
                    let seq = match &misfit {
                        crate::domain::evolve::Misfit::Illegal { seq, .. }
                        | crate::domain::evolve::Misfit::Gap { seq, .. } => *seq,
                    };
                    let message = format!("the history of {name} is not legal: {misfit}");
                    self.find(Finding::new(Code::IllegalHistory, message).at(seq));
                }
            }
        }
        if self.out.findings.iter().any(|finding| finding.code == Code::IllegalHistory) {
            self.out.notes.push("the report was not computed again: a history it tells is not legal".to_owned());
            return Ok(());
        }
        entries.sort_by_key(|entry| entry.first_seq);
        self.out.runs = entries.len() as u64;
        self.report(parameters, &entries)?;
        self.ledgers(parameters, &environments)
    }

    /// The report, computed again.
    fn report(&mut self, parameters: &Parameters, entries: &[render::audit::Entry]) -> Result<(), Failure> {
        let window = Window {
            since_ms: parameters.since_ms,
            until_ms: parameters.until_ms,
            events: (parameters.first_seq <= parameters.last_seq)
                .then_some((parameters.first_seq, parameters.last_seq)),
            now_ms: parameters.now_ms,
            filters: super::period::filters(parameters.environment.as_deref(), None),
            origin: parameters.origin.clone(),
            head_seq: parameters.size,
            head: parameters.head.clone(),
        };
        if parameters.runs != entries.len() as u64 {
            let message = format!("{PARAMETERS} counts {} runs, and the events {}", parameters.runs, entries.len());
            self.find(Finding::new(Code::ReportDiffers, message).of(PARAMETERS));
        }
        if let Some(found) = self.document::<Value>(REPORT_JSON)?
            && let Some(place) = {
                let right = render::audit::json(entries, &window);
                let same = parameters.dbd == env!("CARGO_PKG_VERSION");
                differs(&found, &right, "").or_else(|| same.then(|| differs(&right, &found, "")).flatten())
            }
        {
            let run = place
                .strip_prefix("/entries/")
                .and_then(|rest| rest.split('/').next()?.parse::<usize>().ok())
                .and_then(|at| found["entries"][at]["run"].as_str().map(|run| format!(", which is about {run}")));
            let message = format!("{REPORT_JSON} is not what the events say, at {place}{}", run.unwrap_or_default());
            self.find(Finding::new(Code::ReportDiffers, message).of(REPORT_JSON));
        }
        if parameters.dbd != env!("CARGO_PKG_VERSION") {
            self.out.notes.push(format!(
                "the report was made by dbd {}, this is {}: its text forms were not compared, its JSON form was",
                parameters.dbd,
                env!("CARGO_PKG_VERSION")
            ));
            return Ok(());
        }
        let forms = [
            (REPORT_MD, render::audit::markdown(entries, &window)),
            (REPORT_CSV, render::audit::csv(entries, &window)),
        ];
        for (name, right) in forms {
            let Some(found) = self.text(name)? else { continue };
            if found != right {
                let line = found.lines().zip(right.lines()).position(|(found, right)| found != right);
                let line = line.unwrap_or_else(|| found.lines().count().min(right.lines().count())) + 1;
                let message = format!("{name} is not what the events say, from line {line} on");
                self.find(Finding::new(Code::ReportDiffers, message).of(name));
            }
        }
        Ok(())
    }

    fn ledgers(&mut self, parameters: &Parameters, targets: &BTreeSet<String>) -> Result<(), Failure> {
        let Some(ledger) = self.document::<LedgerFile>(LEDGER)? else { return Ok(()) };
        for target in targets {
            match ledger.targets.iter().find(|one| one.target == *target) {
                Some(one) if one.reached => {
                    let findings = self.held_against(&one.rows, target, parameters);
                    self.out.findings.extend(findings);
                }
                Some(one) => self.out.notes.push(format!(
                    "the ledger of {target} could not be asked when the bundle was made: {}",
                    one.why.as_deref().unwrap_or("nobody wrote why")
                )),
                None => {
                    let message = format!("{LEDGER} says nothing of {target}, which runs of the window are about");
                    self.find(Finding::new(Code::LedgerDiffers, message).of(LEDGER));
                }
            }
        }
        Ok(())
    }

    fn held_against(&self, rows: &[LedgerRow], target: &str, parameters: &Parameters) -> Vec<Finding> {
        held_against(rows, target, &self.out.steps, parameters)
    }
}

/// What a ledger's rows and the steps of the runs on that target do not agree on.
pub(crate) fn held_against(rows: &[LedgerRow], target: &str, steps: &[Steps], parameters: &Parameters) -> Vec<Finding> {
    let steps: Vec<Steps> = steps.iter().filter(|steps| steps.target == target).cloned().collect();
    compare(rows, &steps, parameters.first_seq..=parameters.last_seq)
        .differences
        .into_iter()
        .map(|one| Finding::new(Code::LedgerDiffers, one.message).at(one.seq))
        .collect()
}

/// A tree growing, and the roots it should have on its way.
struct Roots {
    tree: Tree,
    wanted: BTreeMap<u64, Vec<(merkle::Hash, Code, &'static str)>>,
    wrong: Vec<(Code, u64, &'static str)>,
}

impl Roots {
    fn want(&mut self, size: u64, root: Option<merkle::Hash>, code: Code, name: &'static str) {
        if let Some(root) = root {
            self.wanted.entry(size).or_default().push((root, code, name));
        }
    }

    fn push(&mut self, leaf: merkle::Hash) {
        self.tree.push(leaf);
        self.look();
    }

    fn look(&mut self) {
        let size = self.tree.size();
        if let Some(wanted) = self.wanted.remove(&size) {
            let root = self.tree.root();
            self.wrong.extend(
                wanted.into_iter().filter(|(wanted, ..)| *wanted != root).map(|(_, code, name)| (code, size, name)),
            );
        }
    }
}

fn changed(bad: &Bad) -> Finding {
    Finding::new(Code::EventsChanged, bad.to_string()).at(bad.seq)
}

/// Where `found` does not say what `right` says. What a newer report says besides is no difference; what is missing from it is.
fn differs(found: &Value, right: &Value, at: &str) -> Option<String> {
    match (found, right) {
        (Value::Object(found), Value::Object(right)) => found.iter().find_map(|(name, value)| {
            let at = format!("{at}/{name}");
            right.get(name).map_or(Some(at.clone()), |right| differs(value, right, &at))
        }),
        (Value::Array(found), Value::Array(right)) if found.len() == right.len() => (0..)
            .zip(found.iter().zip(right))
            .find_map(|(index, (found, right))| differs(found, right, &format!("{at}/{index}"))),
        (found, right) => (found != right).then(|| if at.is_empty() { "/".to_owned() } else { at.to_owned() }),
    }
}

fn line_at(file: &mut BufReader<fs_err::File>, offset: u64, origin: &str) -> std::io::Result<Option<Entry>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut text = String::new();
    file.read_line(&mut text)?;
    Ok(Line::parse(text.trim_end_matches('\n')).and_then(|line| line.check(origin, None).ok()))
}

fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = fs_err::File::open(path)?;
    let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((HEXLOWER.encode(&digest.finalize()), bytes)),
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::FileUnreadable, format!("{} cannot be read", path.display())).source(error)
}
