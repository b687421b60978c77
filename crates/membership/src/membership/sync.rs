//! Tables are compared page by page: a node that joins reads them whole, and every node goes on reading a page
//! now and then, at a rate that does not depend on their size. What gossip lost is found so.

use super::{Chore, Membership, Now};
use crate::limits::{PAGE_BYTES_MAX, PAGE_WAIT, SYNC_PERIOD, UPDATES_MAX};
use crate::pool::{Pool, Standing};
use crate::record::Load;
use crate::wire::{Ask, Body, Page, PopRow, Row, Scope, Update, to_bytes};
use selvedge_types::NodeKey;
use selvedge_types::resource::PopName;
use std::ops::Bound;
use std::time::Duration;

/// How far a table is read.
#[derive(Debug)]
pub(super) struct Cursor<K> {
    after: Option<K>,
    /// It is read without a pause, to its end.
    eager: bool,
    /// It was read to its end since it was started.
    read: bool,
    asked: Option<NodeKey>,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Cursor { after: None, eager: false, read: false, asked: None }
    }
}

impl<K> Cursor<K> {
    /// Reads the table from its beginning, without a pause.
    pub(super) fn start(&mut self) {
        *self = Cursor { eager: true, ..Cursor::default() };
    }

    pub(super) fn is_read(&self) -> bool {
        self.read
    }

    /// Goes on behind a page. Whether the next one is to be asked for at once.
    fn advance(&mut self, from: NodeKey, last: Option<K>, whole: bool) -> bool {
        if self.asked.take() != Some(from) {
            return false;
        }
        if whole {
            *self = Cursor { read: true, ..Cursor::default() };
            return false;
        }
        self.after = last.or(self.after.take());
        self.eager
    }
}

/// The tables that a node reads.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    pub(super) pop: Cursor<NodeKey>,
    pub(super) world: Cursor<NodeKey>,
    pub(super) pops: Cursor<PopName>,
    turn: u8,
    next_at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Pop,
    World,
    Pops,
}

impl Cursors {
    fn is_eager(&self) -> bool {
        self.pop.eager || self.world.eager || self.pops.eager
    }

    /// All that are to be read without a pause, or the one whose turn it is.
    fn next_tables(&mut self) -> Vec<Table> {
        let all =
            [(Table::Pop, self.pop.eager), (Table::World, self.world.eager), (Table::Pops, self.pops.eager)];
        let eager: Vec<Table> = all.iter().filter(|(_, eager)| *eager).map(|(table, _)| *table).collect();
        if !eager.is_empty() {
            return eager;
        }
        self.turn = (self.turn + 1) % 3;
        vec![all[usize::from(self.turn)].0]
    }
}

impl Membership {
    /// Does not let a table that is to be read at once wait for its turn.
    pub(super) fn hurry_sync(&mut self, now: Duration) {
        if self.cursors.is_eager() && self.cursors.next_at > now + PAGE_WAIT {
            self.cursors.next_at = now;
            self.timers.set(now, Chore::Sync);
        }
    }

    pub(super) fn sync(&mut self, now: &mut Now<'_>) {
        if now.elapsed < self.cursors.next_at || self.left {
            return;
        }
        for table in self.cursors.next_tables() {
            if let Some(peer) = self.any_peer(table) {
                self.ask(now, table, peer);
            }
        }
        let wait = if self.cursors.is_eager() { PAGE_WAIT } else { self.dice.around(SYNC_PERIOD) };
        self.cursors.next_at = now.elapsed + wait;
        self.timers.set(self.cursors.next_at, Chore::Sync);
    }

    /// Somebody knows more PoPs than this node: it is asked for them.
    pub(super) fn catch_up(&mut self, now: &mut Now<'_>, from: NodeKey, pops: u16) {
        if usize::from(pops) > self.pops.len() && !self.cursors.pops.eager {
            self.cursors.pops.start();
            self.ask(now, Table::Pops, from);
        }
    }

    fn any_peer(&mut self, table: Table) -> Option<NodeKey> {
        match table {
            Table::Pop => self.pop.any_present(),
            Table::World => self.world.as_mut().and_then(Pool::any_present),
            Table::Pops => {
                // Digests come from abroad, and what the PoP reaches from neighbours.
                let abroad = self.dice.below(2) == 0;
                let world = self.world.as_mut().filter(|_| abroad);
                world
                    .and_then(Pool::any_present)
                    .or_else(|| self.pop.any_present())
                    .or_else(|| self.any_contact())
            }
        }
    }

    fn ask(&mut self, now: &mut Now<'_>, table: Table, peer: NodeKey) {
        let ask = match table {
            Table::Pop => {
                self.cursors.pop.asked = Some(peer);
                Ask::Members(self.pop.scope(), self.cursors.pop.after)
            }
            Table::World => {
                self.cursors.world.asked = Some(peer);
                Ask::Members(Scope::World, self.cursors.world.after)
            }
            Table::Pops => {
                self.cursors.pops.asked = Some(peer);
                Ask::Pops(self.cursors.pops.after.clone())
            }
        };
        self.send(now, peer, Body::Ask(ask));
    }

    pub(super) fn answer(&mut self, now: &mut Now<'_>, from: NodeKey, ask: Ask) {
        let page = match ask {
            Ask::Members(Scope::Pop(_), after) => self.members_page(&self.pop, after),
            Ask::Members(Scope::World, after) => match &self.world {
                Some(world) => self.members_page(world, after),
                None => return,
            },
            Ask::Pops(after) => self.pops_page(after),
        };
        self.send(now, from, Body::Page(page));
    }

    fn members_page(&self, pool: &Pool, after: Option<NodeKey>) -> Page {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let others = pool.standings().range((after, Bound::Unbounded)).map(|(_, standing)| standing);
        let own = pool.own_update();
        let mut updates: Vec<Update> = others.map(|s: &Standing| s.to_update()).take(UPDATES_MAX).collect();
        let is_after = match after {
            Bound::Excluded(after) => own.member.node > after,
            _ => true,
        };
        if is_after && !self.left {
            updates.push(own);
            updates.sort_unstable_by_key(|update| update.member.node);
        }
        let described = matches!(pool.scope(), Scope::Pop(_));
        let rows = updates.iter().map(|update| self.row(*update, described));
        let (rows, cut) = fit(rows.take(UPDATES_MAX));
        let whole = !cut && updates.len() < UPDATES_MAX;
        Page::Members { scope: pool.scope(), rows, whole }
    }

    fn row(&self, update: Update, described: bool) -> Row {
        if !described {
            return Row { update, record: None, load: Load::default() };
        }
        if update.member == self.own.identity {
            return Row { update, record: Some(self.own.clone()), load: self.load };
        }
        let known = self.described.get(&update.member.node);
        let record = known.and_then(|d| d.record.clone()).filter(|r| r.identity == update.member);
        Row { update, record, load: known.map(|d| d.load).unwrap_or_default() }
    }

    fn pops_page(&self, after: Option<PopName>) -> Page {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let pops = self.pops.range((after, Bound::Unbounded)).map(|(_, pop)| pop);
        let (rows, cut) = fit(pops.map(|pop| PopRow { digest: pop.digest.clone(), reach: pop.reach }));
        Page::Pops { rows, whole: !cut }
    }

    pub(super) fn own_pop_page(&self) -> Option<Page> {
        let pop = self.pops.get(&self.options.pop)?;
        let rows = vec![PopRow { digest: pop.digest.clone(), reach: None }];
        Some(Page::Pops { rows, whole: false })
    }

    pub(super) fn receive_page(&mut self, now: &mut Now<'_>, from: NodeKey, page: Page) {
        if self.left {
            return;
        }
        match page {
            Page::Members { scope: Scope::World, rows, whole } => {
                let last = rows.last().map(|row| row.update.member.node);
                let updates = self.updates_of(rows);
                self.in_world(now.elapsed, |pool, around| pool.learn(updates, false, around));
                if self.cursors.world.advance(from, last, whole) {
                    self.ask(now, Table::World, from);
                }
            }
            Page::Members { rows, whole, .. } => {
                let last = rows.last().map(|row| row.update.member.node);
                let rows: Vec<Row> = rows.into_iter().inspect(|row| self.take_row(row)).collect();
                let updates = self.updates_of(rows);
                self.in_pop(now.elapsed, |pool, around| pool.learn(updates, false, around));
                if self.cursors.pop.advance(from, last, whole) {
                    self.ask(now, Table::Pop, from);
                }
            }
            Page::Pops { rows, whole } => {
                let last = rows.last().map(|row| row.digest.pop.clone());
                rows.into_iter().for_each(|row| self.take_pop_row(now, from, row));
                if self.cursors.pops.advance(from, last, whole) {
                    self.ask(now, Table::Pops, from);
                }
            }
        }
    }

    fn take_row(&mut self, row: &Row) {
        row.record.iter().for_each(|record| {
            self.take_record(record);
        });
        if let Some(described) = self.described.get_mut(&row.update.member.node) {
            described.load = row.load;
        }
    }

    fn updates_of(&self, rows: Vec<Row>) -> Vec<Update> {
        let updates = rows.into_iter().map(|row| row.update);
        updates.filter(|update| !self.removed.contains(&update.member.node)).collect()
    }

    fn take_pop_row(&mut self, now: &mut Now<'_>, from: NodeKey, row: PopRow) {
        let name = row.digest.pop.clone();
        // What was known in an older form is news to others too; a table that is read for the first time is not.
        let known = self.pops.contains_key(&name);
        self.take_digest(now, row.digest, known);
        let neighbour = self.pop.standing(&from).is_some();
        let reached = row.reach.is_some_and(|reach| neighbour && self.take_reach(&name, reach));
        // Where one row was missing, more may be.
        if (!known || reached) && !self.cursors.pops.eager {
            self.cursors.pops.start();
        }
    }
}

/// As many rows as fit into a page. Whether some did not.
fn fit<T: minicbor::Encode<()>>(rows: impl Iterator<Item = T>) -> (Vec<T>, bool) {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for row in rows {
        bytes += to_bytes(&row).len();
        if bytes > PAGE_BYTES_MAX {
            return (page, true);
        }
        page.push(row);
    }
    (page, false)
}
