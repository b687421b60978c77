//! The group's keyspaces, as they are declared.
//!
//! Each is made after its declaration. So one that is older than that is of a former declaration under the same
//! name: it goes with all that it holds, and a new one is made.

use selvedge_kv::{Command, KeyspaceInfo};
use selvedge_rt::Tasks;
use selvedge_state::State;
use selvedge_state::group::{Error, Level, Role};
use selvedge_types::Revision;
use selvedge_types::resource::{Keyspace, KeyspaceId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often the leader looks whether all is as declared, beside whenever something is declared.
const LOOK: Duration = Duration::from_secs(1);

/// How often it compares all although nothing was declared anew.
const COMPARE: Duration = Duration::from_secs(5);

/// How long one step is waited for.
const STEP_MAX: Duration = Duration::from_secs(5);

/// Makes and removes keyspaces wherever the leader is.
pub struct Keyspaces {
    /// The control state.
    pub state: State,
}

impl Keyspaces {
    /// Goes on until the tasks end.
    pub async fn run(self, tasks: Tasks) {
        let mut compared: Option<(u64, Revision, Instant)> = None;
        let mut declarations = self.state.snapshots();
        loop {
            tokio::select! {
                Ok(()) = declarations.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.stopped() => return,
            }
            let status = self.state.group().status();
            if status.role != Role::Leader {
                continue;
            }
            let declared = self.state.declared_revision();
            let is_compared = |(term, revision, at): &(u64, Revision, Instant)| {
                (*term, *revision) == (status.term, declared) && at.elapsed() < COMPARE
            };
            if compared.as_ref().is_some_and(is_compared) {
                continue;
            }
            let took = tokio::select! {
                took = self.take() => took,
                () = tasks.stopped() => return,
            };
            match took {
                Ok(()) => compared = Some((status.term, declared, Instant::now())),
                Err(error) => tracing::warn!(%error, "the keyspaces are not as declared yet"),
            }
        }
    }

    async fn take(&self) -> Result<(), Error> {
        for command in steps(&self.state).await? {
            tracing::info!(?command, "keyspace");
            self.state.group().propose(command, None, STEP_MAX).await?;
        }
        Ok(())
    }
}

/// What has to be done so that the keyspaces are as declared, as far as this node has seen both.
async fn steps(state: &State) -> Result<Vec<Command>, Error> {
    let look = |store: &selvedge_kv::Store| store.keyspaces().collect::<Vec<_>>();
    let there = state.group().read(Level::Local, Duration::ZERO, look).await?.value;
    let (seen, declared) = state.keyspaces();
    Ok(differences(&declared, &there, seen))
}

/// Whether this node has seen the keyspaces as they are declared.
pub async fn are_as_declared(state: &State) -> bool {
    steps(state).await.is_ok_and(|steps| steps.is_empty())
}

/// What is to be removed, then what is to be made or changed. The control state's own is left alone, and one that
/// was made after `seen`, whose declaration is not known here.
fn differences(
    declared: &BTreeMap<KeyspaceId, (Revision, Keyspace)>,
    there: &[KeyspaceInfo],
    seen: Revision,
) -> Vec<Command> {
    let users = there.iter().filter(|info| !info.name.namespace.is_systems());
    let is_known = |info: &&KeyspaceInfo| info.created <= seen;
    let is_former = |info: &&KeyspaceInfo| declared.get(&info.name).is_none_or(|(at, _)| info.created < *at);
    let (former, good): (Vec<_>, Vec<_>) = users.partition(is_former);
    let good: BTreeMap<_, _> = good.into_iter().map(|info| (&info.name, info.quota_bytes)).collect();
    let former = former.into_iter().filter(is_known);
    let removed = former.map(|info| Command::RemoveKeyspace { keyspace: info.number });
    let made = declared.iter().filter(|(name, (_, keyspace))| good.get(name) != Some(&keyspace.quota.get()));
    let made = made.map(|(name, (_, keyspace))| {
        let quota_bytes = keyspace.quota.get();
        Command::DeclareKeyspace { name: name.clone(), quota_bytes }
    });
    removed.chain(made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_kv::KeyspaceNumber;
    use selvedge_types::resource::{ByteSize, Consistency, Text};
    use std::slice::from_ref;

    fn name(text: &str) -> KeyspaceId {
        KeyspaceId::parse_text(text).unwrap()
    }

    fn there(text: &str, number: u64, created: u64) -> KeyspaceInfo {
        KeyspaceInfo {
            name: name(text),
            number: KeyspaceNumber(number),
            quota_bytes: 1 << 20,
            bytes: 0,
            created: Revision(created),
            compacted: Revision(0),
        }
    }

    fn declared(keyspaces: &[(&str, u64, u64)]) -> BTreeMap<KeyspaceId, (Revision, Keyspace)> {
        let keyspace = |quota| Keyspace { consistency: Consistency::Strong, quota: ByteSize::mib(quota) };
        keyspaces.iter().map(|(text, at, quota)| (name(text), (Revision(*at), keyspace(*quota)))).collect()
    }

    #[test]
    fn what_is_declared_is_made_and_what_is_not_goes() {
        let control = there("selvedge/control", 1, 1);
        let steps = |wanted: &[_], found: &[_]| differences(&declared(wanted), found, Revision(9));
        assert_eq!(steps(&[], from_ref(&control)), [], "the control state's own is nobody's");
        let make = |mib: u64| Command::DeclareKeyspace { name: name("a"), quota_bytes: mib << 20 };
        let remove = Command::RemoveKeyspace { keyspace: KeyspaceNumber(2) };
        assert_eq!(steps(&[("a", 5, 1)], &[control]), [make(1)]);
        assert_eq!(steps(&[("a", 5, 1)], &[there("a", 2, 6)]), []);
        assert_eq!(steps(&[("a", 5, 3)], &[there("a", 2, 6)]), [make(3)], "another quota");
        assert_eq!(steps(&[], &[there("a", 2, 6)]), from_ref(&remove));
        assert_eq!(steps(&[("a", 8, 1)], &[there("a", 2, 6)]), [remove, make(1)], "of a former declaration");
    }

    #[test]
    fn one_whose_declaration_is_not_seen_yet_stays() {
        assert_eq!(differences(&declared(&[]), &[there("a", 2, 6)], Revision(5)), []);
    }
}
