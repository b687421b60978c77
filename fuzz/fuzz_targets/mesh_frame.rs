//! Heads and datagrams of calls between nodes: what is read is written the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_mesh::rpc::frame::{AnswerHead, Datagram, LENGTH_BYTES, QuestionHead};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(head) = QuestionHead::decode(bytes) {
        let again = head.encode().expect("what was read fits");
        assert_eq!(QuestionHead::decode(&again[LENGTH_BYTES..]), Ok(head));
    }
    if let Ok(head) = AnswerHead::decode(bytes) {
        let _ = (head.fault(), head.encode());
    }
    if let Ok(datagram) = Datagram::decode(&bytes.to_vec().into()) {
        let again = datagram.encode().expect("what was read fits");
        assert_eq!(Datagram::decode(&again), Ok(datagram));
    }
});
