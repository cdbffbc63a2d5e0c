//! Stories in which something was wrong once: found by the generator, by people who had not read the code, or in reports about other
//! controllers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use tidegate_sim::story::Story;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/mended");

#[test]
fn what_was_mended_stays_so() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        let story: Story = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let failures = story.play(false).failures;
        if !failures.is_empty() {
            let name = path.file_stem().unwrap().display();
            wrong.push(format!(
                "{name} (seed {}):\n  {}",
                story.seed,
                failures.join("\n  ")
            ));
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
