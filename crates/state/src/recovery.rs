//! From what is on disk to the state: tables first, then the log's records after them.

use crate::codec::{self, Row, decode_entry, decode_row, encode_key, encode_row};
use crate::machine::{Change, Machine};
use crate::{Error, Options};
use selvedge_rt::Disk;
use selvedge_store::engine::{self, Batch, Engine, Table, View};
use selvedge_store::wal::{self, GroupId, Log, Sequence};
use selvedge_types::{Hlc, Revision};

/// Whose records these are in the node's log.
pub(crate) const GROUP: GroupId = GroupId(0);

const OBJECTS: Table = Table("objects");
const STATE: Table = Table("state");
const REVISION: &[u8] = b"revision";
const DECLARED: &[u8] = b"declared";
const TIME: &[u8] = b"time";

/// The state as it was when the node last ended.
pub(crate) struct Recovered {
    pub(crate) machine: Machine,
    pub(crate) engine: Engine,
    pub(crate) log: Log,
    /// Up to where the tables last; after it the log must be kept.
    pub(crate) durable: Sequence,
    /// Records that were in the log alone.
    pub(crate) replayed: u64,
    /// Whether the log's last batch was cut.
    pub(crate) torn: bool,
    /// Whether damaged tables were made anew from the log.
    pub(crate) rebuilt: bool,
}

/// Reads the state in `disk`, or begins an empty one.
pub(crate) fn recover(disk: &Disk, options: &Options) -> Result<Recovered, Error> {
    let (tables, wal) = (disk.subdir("tables")?, disk.subdir("wal")?);
    let mut machine = Machine::new();
    let opened = Engine::open(&tables, options.engine);
    let durable = match &opened {
        Ok(engine) => load(engine, &mut machine)?,
        // All may be in the log still.
        Err(engine::Error::Damaged { .. }) => Sequence(0),
        Err(_) => return Err(opened.err().map_or(Error::Stopped, Error::Tables)),
    };
    let mut replay = Replay { machine, after: durable, count: 0, batch: Batch::default(), error: None };
    let (mut log, recovered) = Log::open(wal, options.wal, |record| replay.record(&record))?;
    // Damaged tables are made anew only from a log that certainly has everything.
    let whole = recovered.first == Sequence::FIRST && recovered.next > recovered.first && !recovered.torn;
    if recovered.first > durable.plus(1) || (opened.is_err() && !whole) {
        let (log, tables) = (recovered.first, durable);
        return Err(opened.err().map_or(Error::LogAhead { log, tables }, Error::Tables));
    }
    if recovered.next < durable.plus(1) {
        return Err(Error::LogBehind { log: Sequence(recovered.next.0 - 1), tables: durable });
    }
    let Replay { machine, count, mut batch, error, .. } = replay;
    if let Some(error) = error {
        return Err(error);
    }
    let applied = Sequence(recovered.next.0 - 1);
    let rebuilt = opened.is_err();
    let (engine, durable) = match opened {
        Ok(engine) => {
            finish(&mut batch, &machine);
            engine.commit(&batch, applied)?;
            (engine, durable)
        }
        Err(_) => (Engine::recreate(&tables, options.engine, &contents(&machine)?, applied)?, applied),
    };
    if recovered.torn {
        trust(&mut log)?;
    }
    Ok(Recovered { machine, engine, log, durable, replayed: count, torn: recovered.torn, rebuilt })
}

/// There is nobody to ask what a torn batch held: what is here is the state.
fn trust(log: &mut Log) -> Result<(), wal::Error> {
    match log.trust() {
        // It is said again at the next start.
        Ok(()) | Err(wal::Error::Full { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds changes to a batch for the tables.
pub(crate) fn add(batch: &mut Batch, changes: &[Change]) -> Result<(), Error> {
    for Change { object, version, value, .. } in changes {
        match value {
            None => batch.delete(OBJECTS, encode_key(object)),
            Some(value) => {
                let row = Row { name: object.clone(), version: *version, value: value.clone() };
                let (key, bytes) = encode_row(&row).map_err(unreadable)?;
                batch.put(OBJECTS, key, bytes);
            }
        }
    }
    Ok(())
}

/// Adds what the tables hold beside objects.
pub(crate) fn finish(batch: &mut Batch, machine: &Machine) {
    batch.put(STATE, REVISION, machine.revision().0.to_le_bytes());
    batch.put(STATE, DECLARED, machine.declared().0.to_le_bytes());
    batch.put(STATE, TIME, machine.time().to_bits().to_le_bytes());
}

/// All that the tables should hold.
pub(crate) fn contents(machine: &Machine) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    for (name, version, value) in machine.objects() {
        let (key, bytes) = encode_row(&Row { name, version, value }).map_err(unreadable)?;
        batch.put(OBJECTS, key, bytes);
    }
    finish(&mut batch, machine);
    Ok(batch)
}

pub(crate) fn unreadable(error: codec::CodecError) -> Error {
    Error::Unreadable { what: error.to_string() }
}

/// Reads the tables; returns the record up to which they go.
fn load(engine: &Engine, machine: &mut Machine) -> Result<Sequence, Error> {
    let view = engine.view()?;
    for row in view.range(OBJECTS, ..)? {
        let (key, bytes) = row?;
        let Row { name, version, value } = decode_row(&key, &bytes).map_err(unreadable)?;
        machine.take_over(&Change { revision: version.modified, object: name, version, value: Some(value) });
    }
    let revision = Revision(number(&view, REVISION)?);
    let declared = Revision(number(&view, DECLARED)?);
    machine.resume(revision, declared, Hlc::from_bits(number(&view, TIME)?));
    Ok(view.applied()?)
}

fn number(view: &View, key: &[u8]) -> Result<u64, Error> {
    match view.get(STATE, key)? {
        None => Ok(0),
        Some(bytes) => bytes
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| Error::Unreadable { what: "a number that is not one".into() }),
    }
}

struct Replay {
    machine: Machine,
    after: Sequence,
    count: u64,
    batch: Batch,
    error: Option<Error>,
}

impl Replay {
    fn record(&mut self, record: &selvedge_store::wal::Record<'_>) {
        if record.group != GROUP || record.sequence <= self.after || self.error.is_some() {
            return;
        }
        self.count += 1;
        let applied = decode_entry(record.payload).map_err(unreadable).and_then(|entry| {
            // A rejection was one then, too.
            let changes = self.machine.apply(&entry).unwrap_or_default();
            add(&mut self.batch, &changes)
        });
        self.error = applied.err();
    }
}
