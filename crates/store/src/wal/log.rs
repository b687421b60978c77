//! The log's blocking core.

use super::file::{self, HEADER, PART_SUFFIX, Rest};
use super::record::{self, GroupId, PAYLOAD_BYTES_MAX, Record, Sequence};
use super::{Error, Options};
use bytes::Bytes;
use selvedge_rt::{Disk, DiskFile};
use selvedge_types::planted::{Bug, is_planted};
use std::io;
use std::sync::Arc;

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The first record there, or to come.
    pub first: Sequence,
    /// The place of the next record.
    pub next: Sequence,
    /// Whether a last batch was cut, now or by a process before that did not come to [`Log::trust`]. On a
    /// sound disk what was cut was never acknowledged.
    pub torn: bool,
}

/// Which part of the disk an append may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// All but [`Options::reserve_bytes`].
    Free,
    /// All: for what is small, and without which nothing goes on.
    Reserve,
}

/// The file that says that a torn batch was cut and is not made up for yet.
const TORN: &str = "TORN";

/// The log. Blocking; a failed sync stops it for good.
pub struct Log {
    disk: Disk,
    options: Options,
    files: Vec<LogFile>,
    tail: Option<DiskFile>,
    next: Sequence,
    /// A torn batch was found, and that is not yet noted on disk.
    note_torn: bool,
    failed: Option<Arc<io::Error>>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct LogFile {
    first: Sequence,
    bytes: u64,
}

impl Log {
    /// Opens the log in `disk`, showing `visit` every record there, in order.
    ///
    /// What a former process wrote but failed to flush may be readable and yet not last. So the last file
    /// is written anew before its records count for anything; if the disk is too full for that, it is done
    /// before the next append.
    pub fn open(
        disk: Disk,
        options: Options,
        visit: impl FnMut(Record<'_>),
    ) -> Result<(Self, Recovered), Error> {
        let mut log = Log {
            disk,
            options,
            files: Vec::new(),
            tail: None,
            next: Sequence::FIRST,
            note_torn: false,
            failed: None,
            buffer: Vec::new(),
        };
        let torn = log.recover(visit)?;
        log.note_torn = torn;
        let torn = torn || log.is_noted_torn()?;
        match log.ensure_tail() {
            Ok(()) | Err(Error::Full { .. }) => {}
            Err(error) => return Err(error),
        }
        let recovered = Recovered { first: log.first(), next: log.next, torn };
        Ok((log, recovered))
    }

    /// Appends payloads and flushes them; returns the place of the first.
    ///
    /// After [`Error::Failed`] it is unknown which of them last.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = (GroupId, &'a [u8])>,
    ) -> Result<Sequence, Error> {
        self.append_in(Room::Free, records)
    }

    /// As [`Log::append`], within as much of the disk as `room` says.
    pub fn append_in<'a>(
        &mut self,
        room: Room,
        records: impl IntoIterator<Item = (GroupId, &'a [u8])>,
    ) -> Result<Sequence, Error> {
        self.check()?;
        let first = self.next;
        let count = self.encode(records)?;
        self.require_space(room)?;
        self.ensure_tail()?;
        self.roll_if_long()?;
        self.write_buffer()?;
        self.next = first.plus(count);
        Ok(first)
    }

    /// Records from `from` on, until their payloads have `bytes_max` bytes, but one at least if there is one.
    pub fn read(&self, from: Sequence, bytes_max: usize) -> Result<Vec<(Sequence, GroupId, Bytes)>, Error> {
        if from < self.first() {
            return Err(Error::Truncated { asked: from, first: self.first() });
        }
        let mut found = Vec::new();
        let mut room = bytes_max;
        let start = self.files.partition_point(|f| f.first <= from).saturating_sub(1);
        for log_file in self.files.iter().skip(start) {
            let bytes = Bytes::from(self.read_file(*log_file)?);
            let visited = file::scan(&bytes, log_file.first, |record| {
                if record.sequence >= from && room > 0 {
                    room = room.saturating_sub(record.payload.len().max(1));
                    found.push((record.sequence, record.group, bytes.slice_ref(record.payload)));
                }
            });
            self.refuse_rest(*log_file, &visited)?;
            if room == 0 {
                break;
            }
        }
        Ok(found)
    }

    /// Says that whatever a torn batch may have held is made up for: the next opening finds the log whole.
    pub fn trust(&mut self) -> Result<(), Error> {
        self.check()?;
        self.ensure_tail()?;
        if self.is_noted_torn()? {
            self.disk.remove(TORN).and_then(|()| self.disk.sync()).map_err(|e| self.fail(e))?;
        }
        Ok(())
    }

    /// Removes files all of whose records are before `sequence`.
    pub fn truncate_before(&mut self, sequence: Sequence) -> Result<(), Error> {
        self.check()?;
        while self.files.get(1).is_some_and(|second| second.first <= sequence) {
            let oldest = self.files[0].first;
            self.disk.remove(&file::name(oldest)).map_err(|e| self.fail(e))?;
            self.files.remove(0);
        }
        self.disk.sync().map_err(|e| self.fail(e))
    }

    /// Whether the disk has more free than is kept in reserve.
    pub fn has_room(&self) -> Result<bool, Error> {
        self.check()?;
        let free = self.disk.free_space().map_err(|e| file::read_error(&self.disk, e))?;
        Ok(free > self.options.reserve_bytes)
    }

    /// The first record there, or to come.
    pub fn first(&self) -> Sequence {
        self.files.first().map_or(self.next, |f| f.first)
    }

    /// The place of the next record.
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// Bytes that the log's files take.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    /// The limits it was opened with.
    pub fn options(&self) -> Options {
        self.options
    }

    fn recover(&mut self, mut visit: impl FnMut(Record<'_>)) -> Result<bool, Error> {
        let firsts = self.tidy()?;
        let mut torn = false;
        for (index, first) in firsts.iter().enumerate() {
            let is_last = index + 1 == firsts.len();
            let bytes = self.read_file(LogFile { first: *first, bytes: 0 })?;
            let mut found = LogFile { first: *first, bytes: bytes.len() as u64 };
            if index == 0 {
                self.next = *first;
            } else if self.next != *first {
                return Err(self.damaged(found, 0, "records before its first one are missing"));
            }
            let scan = file::scan(&bytes, *first, &mut visit);
            if is_last && scan.rest == Rest::Torn {
                torn = true;
                found.bytes = scan.end as u64;
            } else {
                self.refuse_rest(found, &scan)?;
            }
            self.next = scan.next;
            self.files.push(found);
        }
        Ok(torn)
    }

    /// Removes what was never finished; the first records of the files there are.
    fn tidy(&mut self) -> Result<Vec<Sequence>, Error> {
        let names = self.disk.list().map_err(|e| file::read_error(&self.disk, e))?;
        for part in names.iter().filter(|n| n.ends_with(PART_SUFFIX)) {
            // It is in nobody's way if it stays.
            let _ = self.disk.remove(part);
        }
        Ok(names.iter().filter_map(|n| file::parse_name(n)).collect())
    }

    /// Sees to it that the last file is one that this process wrote and flushed.
    fn ensure_tail(&mut self) -> Result<(), Error> {
        if self.tail.is_some() {
            return Ok(());
        }
        if self.note_torn {
            let note = self.disk.open(TORN, true).and_then(|_| self.disk.sync());
            note.map_err(|e| self.refuse_or_fail(e))?;
            self.note_torn = false;
        }
        let Some(last) = self.files.last().copied() else {
            return self.begin_file();
        };
        let records = self.read_file(last)?;
        let end = usize::try_from(last.bytes).unwrap_or(usize::MAX);
        let records = records.get(HEADER..end).unwrap_or_default();
        let tail = file::create(&self.disk, last.first, records).map_err(|e| self.refuse_or_fail(e))?;
        if let Some(last) = self.files.last_mut() {
            last.bytes = (HEADER + records.len()) as u64;
        }
        self.tail = Some(tail);
        Ok(())
    }

    fn is_noted_torn(&self) -> Result<bool, Error> {
        let names = self.disk.list().map_err(|e| file::read_error(&self.disk, e))?;
        Ok(names.iter().any(|name| name == TORN))
    }

    fn begin_file(&mut self) -> Result<(), Error> {
        let tail = file::create(&self.disk, self.next, &[]).map_err(|e| self.refuse_or_fail(e))?;
        self.files.push(LogFile { first: self.next, bytes: HEADER as u64 });
        self.tail = Some(tail);
        Ok(())
    }

    fn roll_if_long(&mut self) -> Result<(), Error> {
        match self.files.last() {
            Some(last) if last.first < self.next && last.bytes >= self.options.file_bytes => {
                self.begin_file()
            }
            _ => Ok(()),
        }
    }

    fn encode<'a>(&mut self, records: impl IntoIterator<Item = (GroupId, &'a [u8])>) -> Result<u64, Error> {
        self.buffer.clear();
        let mut count = 0;
        for (group, payload) in records {
            if payload.len() > PAYLOAD_BYTES_MAX {
                return Err(Error::TooLong { bytes: payload.len(), limit: PAYLOAD_BYTES_MAX });
            }
            let sequence = self.next.plus(count);
            record::encode(&Record { sequence, batch: self.next, group, payload }, &mut self.buffer);
            count += 1;
        }
        Ok(count)
    }

    fn require_space(&mut self, room: Room) -> Result<(), Error> {
        let free = self.disk.free_space().map_err(|e| self.fail(e))?;
        let reserve = if room == Room::Free { self.options.reserve_bytes } else { 0 };
        if free < reserve.saturating_add(self.buffer.len() as u64) {
            return Err(self.full());
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), Error> {
        let (Some(tail), Some(last)) = (self.tail.clone(), self.files.last_mut()) else {
            return Err(Error::Stopped);
        };
        let end = last.bytes;
        if let Err(error) = tail.write_at(&self.buffer, end) {
            // A part may be there; only if it can be taken back is the log as it was.
            let taken_back = crate::is_full(&error) && tail.set_len(end).is_ok();
            return Err(if taken_back { self.full() } else { self.fail(error) });
        }
        last.bytes += self.buffer.len() as u64;
        self.buffer.shrink_to(self.options.batch_bytes_max);
        if is_planted(Bug::AcknowledgedUnflushed) {
            return Ok(());
        }
        tail.sync().map_err(|e| self.fail(e))
    }

    fn read_file(&self, log_file: LogFile) -> Result<Vec<u8>, Error> {
        self.disk
            .open(&file::name(log_file.first), false)
            .and_then(|f| file::read(&f))
            .map_err(|e| file::read_error(&self.disk, e))
            .and_then(|bytes| match file::unknown_version(&bytes) {
                None => Ok(bytes),
                Some((version, known)) => Err(Error::Version { path: self.path(log_file), version, known }),
            })
    }

    fn refuse_rest(&self, log_file: LogFile, scan: &file::Scan) -> Result<(), Error> {
        match scan.rest {
            Rest::Nothing => Ok(()),
            Rest::Torn => Err(self.damaged(log_file, scan.end, "its last record is not whole")),
            Rest::Damaged(what) => Err(self.damaged(log_file, scan.end, what)),
        }
    }

    fn damaged(&self, log_file: LogFile, at: usize, what: &'static str) -> Error {
        Error::Damaged { path: self.path(log_file), at: at as u64, what }
    }

    fn path(&self, log_file: LogFile) -> String {
        format!("{}/{}", self.disk.display(), file::name(log_file.first))
    }

    fn check(&self) -> Result<(), Error> {
        match &self.failed {
            None => Ok(()),
            Some(source) => Err(self.failure(source.clone())),
        }
    }

    fn refuse_or_fail(&mut self, error: io::Error) -> Error {
        if crate::is_full(&error) { self.full() } else { self.fail(error) }
    }

    fn full(&self) -> Error {
        Error::Full { path: self.disk.display().to_string() }
    }

    fn fail(&mut self, error: io::Error) -> Error {
        let source = Arc::new(error);
        self.failed = Some(source.clone());
        self.failure(source)
    }

    fn failure(&self, source: Arc<io::Error>) -> Error {
        Error::Failed { path: self.disk.display().to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Options =
        Options { file_bytes: 200, reserve_bytes: 0, queue_max: 8, batch_bytes_max: 1 << 16 };

    fn open(disk: &Disk) -> Result<(Log, Recovered, Vec<Vec<u8>>), Error> {
        let mut payloads = Vec::new();
        let (log, recovered) = Log::open(disk.clone(), SMALL, |r| payloads.push(r.payload.to_vec()))?;
        Ok((log, recovered, payloads))
    }

    fn append(log: &mut Log, payload: &str) -> u64 {
        log.append([(GroupId(0), payload.as_bytes())]).unwrap().0
    }

    #[test]
    fn records_come_back_in_order_over_many_files() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let (mut log, recovered, _) = open(&disk).unwrap();
        assert_eq!(recovered, Recovered { first: Sequence(1), next: Sequence(1), torn: false });
        for i in 1..=20 {
            assert_eq!(append(&mut log, &format!("record {i}")), i);
        }
        drop(log);
        assert!(disk.list().unwrap().len() > 2);
        let (log, recovered, payloads) = open(&disk).unwrap();
        assert_eq!(recovered, Recovered { first: Sequence(1), next: Sequence(21), torn: false });
        assert_eq!(payloads[19], b"record 20");
        let read = log.read(Sequence(15), 18).unwrap();
        let sequences: Vec<u64> = read.iter().map(|(s, _, _)| s.0).collect();
        assert_eq!(sequences, [15, 16], "stops once the limit is reached");
    }

    #[test]
    fn the_front_is_truncated_by_whole_files_and_asking_for_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let (mut log, ..) = open(&disk).unwrap();
        (0..20).for_each(|_| assert!(append(&mut log, "payload") > 0));
        log.truncate_before(Sequence(12)).unwrap();
        let first = log.first();
        assert!(first > Sequence(1) && first <= Sequence(12), "{first}");
        assert!(matches!(log.read(Sequence(1), 10), Err(Error::Truncated { .. })));
        log.truncate_before(Sequence(1000)).unwrap();
        assert_eq!(log.next(), Sequence(21), "the last file stays, and with it the place of the next");
        drop(log);
        assert_eq!(open(&disk).unwrap().1.next, Sequence(21));
    }

    #[test]
    fn a_torn_tail_is_cut_and_reported_until_the_log_is_trusted_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let (mut log, ..) = open(&disk).unwrap();
        append(&mut log, "whole");
        append(&mut log, "torn");
        drop(log);
        let file = disk.open(&file::name(Sequence(1)), false).unwrap();
        file.set_len(file.len().unwrap() - 3).unwrap();
        let (mut log, recovered, payloads) = open(&disk).unwrap();
        assert!(recovered.torn);
        assert_eq!(payloads, [b"whole"]);
        assert_eq!(append(&mut log, "again"), 2);
        drop(log);
        let (mut log, recovered, payloads) = open(&disk).unwrap();
        assert!(recovered.torn, "nobody has said that it may be trusted");
        assert_eq!(payloads, [&b"whole"[..], b"again"]);
        log.trust().unwrap();
        drop(log);
        assert!(!open(&disk).unwrap().1.torn);
    }

    #[test]
    fn the_reserve_is_for_those_who_ask_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { reserve_bytes: u64::MAX, ..SMALL };
        let (mut log, _) = Log::open(Disk::real(dir.path()).unwrap(), options, |_| {}).unwrap();
        let record = [(GroupId(0), &b"small"[..])];
        assert!(matches!(log.append(record), Err(Error::Full { .. })));
        assert_eq!(log.append_in(Room::Reserve, record).unwrap(), Sequence(1));
    }

    #[test]
    fn damage_before_the_last_batch_and_missing_files_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let (mut log, ..) = open(&disk).unwrap();
        (0..20).for_each(|_| assert!(append(&mut log, "payload") > 0));
        drop(log);
        let names = disk.list().unwrap();
        let file = disk.open(&names[1], false).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, 80).unwrap();
        file.write_at(&[byte[0] ^ 4], 80).unwrap();
        let error = open(&disk).err().unwrap();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        file.write_at(&byte, 80).unwrap();
        open(&disk).unwrap();
        disk.remove(&names[1]).unwrap();
        let error = open(&disk).err().unwrap();
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn a_payload_that_is_too_long_is_refused_and_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, ..) = open(&Disk::real(dir.path()).unwrap()).unwrap();
        let long = vec![0; PAYLOAD_BYTES_MAX + 1];
        let error = log.append([(GroupId(0), &long[..])]).unwrap_err();
        assert!(error.is_refusal());
        assert_eq!(append(&mut log, "short"), 1);
    }

    /// Run with `cargo test --release -p selvedge-store -- --ignored --nocapture measure`.
    #[test]
    #[ignore = "a measurement"]
    fn measure_appends() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let clock = selvedge_rt::Clock::real();
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let (mut log, _) = Log::open(Disk::real(dir.path()).unwrap(), options, |_| {}).unwrap();
        for batch in [1, 64] {
            let (from, rounds) = (clock.monotonic(), 500);
            for _ in 0..rounds {
                log.append((0..batch).map(|_| (GroupId(0), &[7; 256][..]))).unwrap();
            }
            let each = (clock.monotonic() - from) / rounds;
            println!("flush of {batch} records of 256 bytes: {each:?}");
        }
    }
}
