//! Manifests: no panic, errors stand inside the text, and what is taken survives a snapshot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_types::resource::Resources;
use selvedge_types::{Manifest, Permissions, Revision, Snapshot};

fuzz_target!(|text: &str| {
    match Manifest::parse("fuzz", text) {
        Ok(manifest) => {
            let Ok(resources) = manifest.apply_to(&Resources::default(), &Permissions::ALL) else { return };
            let snapshot = Snapshot::new(Revision(1), resources);
            let bytes = snapshot.encode().expect("every snapshot can be encoded");
            assert_eq!(Snapshot::decode(&bytes).expect("what was encoded can be decoded"), snapshot);
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            errors.0.iter().for_each(|e| assert!(text.get(e.span.clone()).is_some()));
        }
    }
});
