//! The engine on a disk that fails: after each restart it holds exactly what some commit left, and no
//! checkpoint is ever lost.

use crate::disk::{Faults, SimDisk};
use crate::ensure;
use crate::run::{Failure, Run};
use selvedge_rt::Rng;
use selvedge_store::engine::{Batch, Engine, Error, Options, Table};
use selvedge_store::wal::Sequence;
use std::collections::BTreeMap;

const LIVES: u64 = 15;
const COMMITS_PER_LIFE_MAX: u64 = 25;
const TABLES: [Table; 2] = [Table("one"), Table("two")];

type Contents = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// What may be there: the contents after each commit since the last checkpoint.
struct Model {
    applied: u64,
    commits: BTreeMap<u64, Contents>,
}

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    run.require("engine: checkpoints", 3);
    run.require("engine: restarts", 5);
    let mut rng = run.rng.branch("workload");
    let disk = SimDisk::new("engine disk", run.rng.branch("disk"), run.trace.clone());
    let mut model = Model { applied: 0, commits: BTreeMap::from([(0, Contents::new())]) };
    for _ in 0..LIVES {
        live(run, &disk, &mut model, &mut rng)?;
        disk.set_faults(Faults::default());
        disk.set_capacity(1 << 40);
        if !disk.is_dark() && rng.below(2) == 0 {
            disk.kill();
        } else {
            disk.crash();
            disk.power_on();
        }
    }
    flip(run, &disk, &mut model)
}

fn live(run: &Run, disk: &SimDisk, model: &mut Model, rng: &mut Rng) -> Result<(), Failure> {
    let engine = match open(disk) {
        Ok(engine) => engine,
        Err(Error::Damaged { what, .. }) => {
            return Err(Failure::new(format!("sound tables taken for damaged: {what}")));
        }
        Err(_) => return Ok(()),
    };
    run.exercised("engine: restarts", 1);
    match model.settle(&engine) {
        Err(_) if disk.is_dark() => return Ok(()),
        settled => settled?,
    }
    if rng.below(3) == 0 {
        disk.set_faults(Faults { sync_fails: 0.1, write_fails: 0.01, ..Faults::default() });
    }
    if rng.below(4) == 0 {
        disk.set_capacity(rng.below(3 << 20));
    }
    if rng.below(2) == 0 {
        disk.crash_after(1 + rng.below(300));
    }
    for _ in 0..rng.below(COMMITS_PER_LIFE_MAX) {
        if !commit(run, &engine, model, rng) {
            break;
        }
        if rng.below(5) == 0 {
            let Ok(applied) = engine.checkpoint() else { break };
            ensure!(applied.0 == model.applied, "a checkpoint of {applied}, not {}", model.applied);
            model.commits = model.commits.split_off(&model.applied);
            run.exercised("engine: checkpoints", 1);
        }
    }
    Ok(())
}

fn commit(run: &Run, engine: &Engine, model: &mut Model, rng: &mut Rng) -> bool {
    let mut contents = model.commits.get(&model.applied).cloned().unwrap_or_default();
    let mut batch = Batch::default();
    for _ in 0..rng.below(20) {
        let table = TABLES[usize::from(rng.below(2) == 0)];
        let key = rng.below(50).to_be_bytes().to_vec();
        if rng.below(3) == 0 {
            batch.delete(table, key.clone());
            contents.remove(&(table, key));
        } else {
            let value = rng.next_u64().to_be_bytes().repeat(1 + usize::try_from(rng.below(100)).unwrap_or(0));
            batch.put(table, key.clone(), value.clone());
            contents.insert((table, key), value);
        }
    }
    model.applied += 1;
    // A commit that fails may be there all the same.
    model.commits.insert(model.applied, contents);
    let done = engine.commit(&batch, Sequence(model.applied)).is_ok();
    run.exercised("engine: commits", u64::from(done));
    done
}

impl Model {
    /// The engine holds what one of the commits left; the model goes on from there.
    fn settle(&mut self, engine: &Engine) -> Result<(), Failure> {
        let (applied, found) = contents(engine).map_err(|e| Failure::new(e.to_string()))?;
        let Some(expected) = self.commits.get(&applied) else {
            let first = self.commits.keys().next().copied().unwrap_or(0);
            return Err(Failure::new(format!("applied is {applied}; a checkpoint of {first} was made")));
        };
        ensure!(&found == expected, "the tables are not what commit {applied} left");
        self.applied = applied;
        self.commits = BTreeMap::from([(applied, found)]);
        Ok(())
    }
}

/// A bit flips at rest: it is noticed, or is where nothing is.
fn flip(run: &Run, disk: &SimDisk, model: &mut Model) -> Result<(), Failure> {
    disk.heal();
    let Ok(engine) = open(disk) else {
        return Err(Failure::new("sound tables on a sound disk do not open"));
    };
    model.settle(&engine)?;
    drop(engine);
    disk.kill();
    if disk.flip_bit("tables.redb").is_none() {
        return Ok(());
    }
    match open(disk) {
        Err(_) => run.exercised("engine: damage reported", 1),
        Ok(engine) => {
            model.settle(&engine)?;
            run.exercised("engine: damage to unused space", 1);
        }
    }
    Ok(())
}

fn open(disk: &SimDisk) -> Result<Engine, Error> {
    Engine::open(&disk.disk(), Options { cache_bytes: 1 << 20 })
}

fn contents(engine: &Engine) -> Result<(u64, Contents), Error> {
    let view = engine.view()?;
    let mut found = Contents::new();
    for table in TABLES {
        for row in view.range(table, ..)? {
            let (key, value) = row?;
            found.insert((table, key), value);
        }
    }
    Ok((view.applied()?.0, found))
}
