//! Tickets as text, and what the store and other nodes see of them: what is read is written the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_mesh::ticket::{Claim, Ticket, TicketRecord};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(ticket) = text.parse::<Ticket>()
    {
        let again: Ticket = ticket.to_string().parse().expect("what was written is read");
        assert_eq!(again.grant(), ticket.grant());
    }
    if let Ok(record) = TicketRecord::decode(bytes) {
        assert_eq!(TicketRecord::decode(&record.encode()), Ok(record));
    }
    if let Ok(claim) = Claim::decode(bytes) {
        let again = claim.encode();
        assert_eq!(Claim::decode(&again), Ok(claim));
    }
});
