//! The demo's story as text.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

/// The story with a seed.
fn told(seed: u64) -> String {
    let mut text = Vec::new();
    tidegate_plugin::demo::tell(seed, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// What is noted in the last column, without numbers that follow from how fast the pods start.
fn notes(story: &str) -> Vec<&str> {
    let mut lines = story.lines();
    let column = lines.next().unwrap().len() + 2;
    let lines = lines.take_while(|line| !line.is_empty());
    let notes = lines
        .filter_map(|line| line.get(column..))
        .flat_map(|notes| notes.split("; "));
    notes
        .filter(|note| !note.ends_with("so far"))
        .map(|note| {
            if note.ends_with(": too low") {
                "too low"
            } else {
                note
            }
        })
        .collect()
}

#[test]
fn the_story() {
    let story = told(1);
    assert_eq!(story, told(1), "the same seed tells the same story");
    let good = "success rate 1.000: good";
    let mut expected = vec![
        "$ kubectl apply -f examples/demo",
        "Progressing",
        "Healthy",
        "1000 users come, 50 requests a second",
        "$ kubectl tidegate set image web web=registry.example/shop:v2",
        "Progressing",
    ];
    for weight in [
        "20 % of the requests go to the canary",
        "40 % of the requests go to the canary",
        "60 % of the requests go to the canary",
        "80 % of the requests go to the canary",
        "100 % of the requests go to the canary",
    ] {
        expected.extend([weight, good, good, good]);
    }
    expected.extend([
        "Healthy",
        "every request goes to v2",
        "$ kubectl tidegate set image web web=registry.example/shop:v3-bad",
        "Progressing",
        "20 % of the requests go to the canary",
        "too low",
        "too low",
        "aborted",
        "Degraded",
        "every request goes to v2",
    ]);
    assert_eq!(notes(&story), expected, "{story}");
}

/// Whatever the seed: the good release takes every step and hurts nobody, the bad one takes only the first.
#[test]
fn chance_does_not_change_how_it_ends() {
    for seed in 1..=20 {
        let story = told(seed);
        let weights: Vec<&str> = story
            .lines()
            .filter_map(|line| {
                line.split_once(" % of the requests go to the canary")?
                    .0
                    .rsplit(' ')
                    .next()
            })
            .collect();
        assert_eq!(
            weights,
            ["20", "40", "60", "80", "100", "20"],
            "seed {seed}\n{story}"
        );
        let good = story
            .lines()
            .find(|line| line.contains("v2 promoted in"))
            .unwrap();
        assert!(good.contains(": 0 of "), "seed {seed}: {good}");
        let bad = story.lines().last().unwrap();
        let hurt = bad
            .split_once("at weight 20: ")
            .and_then(|(_, rest)| rest.split(' ').next());
        let hurt: u64 = hurt
            .unwrap_or_else(|| panic!("seed {seed}: {bad}"))
            .parse()
            .unwrap();
        assert!((1..=60).contains(&hurt), "seed {seed}: {bad}");
    }
}

/// The story from Git with a seed.
fn told_from_git(seed: u64) -> String {
    let mut text = Vec::new();
    tidegate_plugin::demo::tell_git(seed, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// A note without the name of the commit that it is about, which follows from its content.
fn without_commit(note: &str) -> String {
    let words = note.split(' ').map(|word| {
        let name = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if name { "COMMIT" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_story_from_git() {
    let story = told_from_git(1);
    assert_eq!(story, told_from_git(1), "the same seed tells the same story");
    let notes: Vec<String> = notes(&story).into_iter().map(without_commit).collect();
    // What the rollout does is told as in the other story.
    let of_git = ["$ ", "COMMIT ", "the cluster ", "the controller ", "Git "];
    let told: Vec<&str> = notes
        .iter()
        .map(String::as_str)
        .filter(|note| of_git.iter().any(|start| note.starts_with(start)))
        .collect();
    let expected = [
        "$ git commit -m 'Release v1' && git push   # COMMIT",
        "$ kubectl apply -f delivery.yaml",
        "COMMIT is green: deployed",
        "$ git commit -m 'Release v2' && git push   # COMMIT",
        "COMMIT is green: verified by its metrics",
        "$ git commit -m 'Release v3-bad' && git push   # COMMIT",
        "COMMIT is rejected: AnalysisFailed",
        "the cluster is pinned to COMMIT",
        "COMMIT is red: AnalysisFailed",
        "the controller pushes COMMIT to main: Take back: Release v3-bad",
        "COMMIT is green: verified by its metrics",
        "Git and the cluster agree again",
    ];
    assert_eq!(told, expected, "{story}");
    // Once after the good commit, and once after the bad one, before or after what Git has to say.
    let to_v2 = notes.iter().filter(|note| *note == "every request goes to v2");
    assert_eq!(to_v2.count(), 2, "{story}");
    let log = story.split_once("$ git log -1 main").unwrap().1;
    for part in [
        "Take back: Release v3-bad",
        "was rejected in shop/shop: AnalysisFailed.",
        "Tidegate-Reverts: ",
        "Tidegate-Delivery: shop/shop",
    ] {
        assert!(log.contains(part), "{part}\n{story}");
    }
}

/// Whatever the seed: the good commit hurts nobody, the bad one is taken back from the first step.
#[test]
fn chance_does_not_change_how_it_ends_in_git() {
    for seed in 2..=8 {
        let story = told_from_git(seed);
        let good = story.lines().find(|line| line.contains("v2 verified in"));
        assert!(good.unwrap().contains(": 0 of "), "seed {seed}\n{story}");
        let bad = story.lines().find(|line| line.contains("v3-bad taken back"));
        assert!(bad.unwrap().contains("at weight 20: "), "seed {seed}\n{story}");
        assert!(
            story.contains("Git and the cluster agree again"),
            "seed {seed}\n{story}"
        );
    }
}
