use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use tempfile::TempDir;
use tidegate_gitsync::remote::{Restore, Signers};
use tidegate_gitsync::render::helm::Release;
use tidegate_gitsync::render::{Limits, RenderError, Rendered, render};
use tidegate_gitsync::tree::{Closure, Files};

use super::*;
use crate::Protocol;

/// A server with one repository, the clone of a person, and our cache.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with("sha1")
    }

    fn with(format: &str) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let format = format!("--object-format={format}");
        for (folder, more) in [("origin.git", "--bare"), ("clone", "--quiet")] {
            world.git(
                ".",
                &["init", "--quiet", "--initial-branch=main", &format, more, folder],
            );
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs git as a person does.
    fn git(&self, folder: &str, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(args)
            .current_dir(self.path(folder))
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Ann")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "ann@example.com")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_DATE"), "@1700000000 +0000")))
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path("clone").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits all files of the clone and pushes.
    fn commit(&self, message: &str) -> Oid {
        self.git("clone", &["add", "--all"]);
        self.git(
            "clone",
            &["commit", "--quiet", "--allow-empty", "--message", message],
        );
        self.push("main")
    }

    fn push(&self, branch: &str) -> Oid {
        let to = format!("HEAD:refs/heads/{branch}");
        self.git("clone", &["push", "--quiet", "../origin.git", &to]);
        Oid::parse(&self.git("clone", &["rev-parse", "HEAD"])).unwrap()
    }

    fn hook(&self, name: &str, script: &str) {
        let path = self.path("origin.git/hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    fn remote(&self) -> Remote {
        Remote {
            url: format!("file://{}", self.path("origin.git").display()),
            credentials: Credentials::None,
        }
    }

    fn options(&self) -> Options {
        Options {
            protocols: BTreeSet::from([Protocol::File, Protocol::Http]),
            ..Options::new(self.path("cache"))
        }
    }

    fn ours(&self) -> Git {
        Git::new(self.options()).unwrap()
    }

    fn render(&self, commit: &Oid, path: &str, known: Option<&Closure>) -> GitRequest {
        GitRequest::Render {
            remote: self.remote(),
            commit: commit.clone(),
            path: path.to_owned(),
            release: Release::default(),
            known: known.cloned(),
            signers: None,
        }
    }

    fn restore(&self, tip: &Oid, good: &Oid, digest: &str, push_to: &str) -> Restore {
        Restore {
            remote: self.remote(),
            base: "refs/heads/main".to_owned(),
            tip: tip.clone(),
            path: "shop/prod".to_owned(),
            release: Release::default(),
            good: good.clone(),
            outside: Vec::new(),
            digest: digest.to_owned(),
            push_to: push_to.to_owned(),
            message: format!("Put shop/prod back\n\nDelivery-Reverts: {tip}\n"),
            author: ("Tidegate".to_owned(), "tidegate@example.com".to_owned()),
            time: Timestamp::from_second(1_700_000_100).unwrap(),
        }
    }

    async fn rendered(
        &self,
        git: &Git,
        commit: &Oid,
        path: &str,
    ) -> (CommitInfo, Result<Rendered, RenderError>) {
        match git.answer(self.render(commit, path, None)).await.unwrap() {
            GitAnswer::Rendered(rendered) => *rendered,
            other => panic!("{other:?}"),
        }
    }

    async fn heads(&self, git: &Git, refs: &[&str]) -> Vec<(String, Oid)> {
        let refs = refs.iter().map(|&name| name.to_owned()).collect();
        let remote = self.remote();
        match git.answer(GitRequest::Heads { remote, refs }).await.unwrap() {
            GitAnswer::Heads(heads) => heads,
            other => panic!("{other:?}"),
        }
    }
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
}

fn names(rendered: &Rendered) -> Vec<&str> {
    let name =
        |manifest: &'_ tidegate_gitsync::render::Manifest| manifest.value.pointer("/metadata/name").is_some();
    assert!(rendered.manifests.iter().all(name));
    let names = rendered.manifests.iter();
    names
        .filter_map(|manifest| manifest.value.pointer("/metadata/name")?.as_str())
        .collect()
}

#[tokio::test]
async fn heads_of_branches_and_tags() {
    let world = World::new();
    let git = world.ours();
    assert_eq!(
        world.heads(&git, &["refs/heads/main"]).await,
        [],
        "an unborn branch"
    );
    let first = world.commit("One");
    world.git("clone", &["tag", "--annotate", "--message", "v1", "v1"]);
    world.git(
        "clone",
        &[
            "push",
            "--quiet",
            "../origin.git",
            "v1",
            "HEAD:refs/heads/x/refs/heads/main",
        ],
    );
    let second = world.commit("Two");
    let asked = [
        "refs/tags/v1",
        "refs/heads/main",
        "refs/heads/gone",
        "refs/tags/v2",
    ];
    assert_eq!(
        world.heads(&git, &asked).await,
        [
            ("refs/tags/v1".to_owned(), first),
            ("refs/heads/main".to_owned(), second.clone())
        ]
    );
    assert_eq!(world.heads(&git, &["HEAD"]).await, [("HEAD".to_owned(), second)]);
    assert_eq!(world.heads(&git, &[]).await, []);
}

#[tokio::test]
async fn a_folder_is_rendered_and_only_again_when_it_changed() {
    let world = World::new();
    world.write("shop/prod/a.yaml", &map("a"));
    world.write("shop/prod/deep/b.yaml", &map("b"));
    world.write("README.md", "hello");
    let first = world.commit("Release 1\n\nReviewed-by: Bob");
    let git = world.ours();
    let (info, rendered) = world.rendered(&git, &first, "shop/prod").await;
    assert_eq!(
        info,
        CommitInfo {
            subject: "Release 1".to_owned(),
            author: "Ann".to_owned(),
            trailers: vec![("Reviewed-by".to_owned(), "Bob".to_owned())],
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            unsigned: None,
        }
    );
    let rendered = rendered.unwrap();
    let files = Files::new()
        .with("shop/prod/a.yaml", &map("a"))
        .with("shop/prod/deep/b.yaml", &map("b"));
    let expected = render(&files, "shop/prod", &Limits::default()).unwrap();
    assert_eq!(rendered.manifests, expected.manifests);
    assert_eq!(rendered.digest, expected.digest);

    world.write("README.md", "hello again");
    let second = world.commit("Words");
    let again = world.render(&second, "shop/prod", Some(&rendered.closure));
    assert_eq!(git.answer(again).await, Ok(GitAnswer::Unchanged));
    world.write("shop/prod/c.yaml", &map("c"));
    let third = world.commit("Release 2");
    let known = Some(&rendered.closure);
    match git
        .answer(world.render(&third, "shop/prod", known))
        .await
        .unwrap()
    {
        GitAnswer::Rendered(rendered) => assert_eq!(names(&rendered.1.unwrap()), ["a", "c", "b"]),
        other => panic!("{other:?}"),
    }
    let (_, missing) = world.rendered(&git, &third, "shop/test").await;
    assert!(
        matches!(missing, Err(RenderError::NoFolder { .. })),
        "{missing:?}"
    );
}

#[tokio::test]
async fn names_links_and_submodules_of_somebody_hostile() {
    let world = World::new();
    for (index, name) in [
        "-rf.yaml",
        "new\nline.yaml",
        "quo'te\".yaml",
        "a b/..c.yaml",
        "ä.yaml",
    ]
    .iter()
    .enumerate()
    {
        world.write(&format!("app/{name}"), &map(&format!("m{index}")));
    }
    let bad = std::ffi::OsStr::from_bytes(b"app/caf\xe9.yaml");
    std::fs::write(world.path("clone").join(bad), map("latin")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.path("clone/app/link")).unwrap();
    world.git("clone", &["add", "--all"]);
    let submodule = format!("160000,{},app/sub.yaml", "1".repeat(40));
    world.git("clone", &["update-index", "--add", "--cacheinfo", &submodule]);
    world.git("clone", &["commit", "--quiet", "--message", "Names"]);
    let commit = world.push("main");
    let git = world.ours();
    let (_, rendered) = world.rendered(&git, &commit, "app").await;
    assert_eq!(
        names(&rendered.unwrap()),
        ["m0", "latin", "m1", "m2", "m4"],
        "dot files are left alone"
    );

    std::os::unix::fs::symlink("/etc/passwd", world.path("clone/app/users.yaml")).unwrap();
    world.git("clone", &["add", "app/users.yaml"]);
    world.git("clone", &["commit", "--quiet", "--message", "Link"]);
    let commit = world.push("main");
    let (_, rendered) = world.rendered(&git, &commit, "app").await;
    let error = rendered.unwrap_err().to_string();
    assert!(error.starts_with("app/users.yaml: is a symbolic link"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let world = World::new();
    world.commit("One");
    let git = world.ours();
    let missing = Oid::parse(&"1".repeat(40)).unwrap();
    for _ in 0..2 {
        let error = git.answer(world.render(&missing, "", None)).await.unwrap_err();
        assert!(
            matches!(&error, RemoteError::NotFound(text) if text.contains(missing.as_str())),
            "{error:?}"
        );
        // with a branch to look through as well
        world.heads(&git, &["refs/heads/main"]).await;
    }
    let mut remote = world.remote();
    remote.url.push_str("-gone");
    let refs = vec!["refs/heads/main".to_owned()];
    let error = git.answer(GitRequest::Heads { remote, refs }).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_gives_out_branches_only() {
    let world = World::new();
    world.write("a.yaml", &map("a"));
    let first = world.commit("One");
    world.write("a.yaml", &map("b"));
    world.commit("Two");
    let git = world.ours();
    let remote = world.remote();
    let address = Address::parse(&remote.url, &git.options.protocols).unwrap();
    let mut access = Access::new(address, &remote.credentials, &git.children.private).unwrap();
    // the old protocol refuses what is not the tip of a ref
    access
        .config
        .push(("protocol.version".to_owned(), "0".to_owned()));
    let repository = git.repository("old").lock_owned().await;
    let mut work = Work {
        git: &git,
        access,
        repository,
    };
    let error = work
        .render(&first, ("", &Release::default()), None, None)
        .await
        .unwrap_err();
    assert!(matches!(error, RemoteError::NotFound(_)), "{error:?}");
    work.heads(&["refs/heads/main".to_owned()]).await.unwrap();
    match work
        .render(&first, ("", &Release::default()), None, None)
        .await
        .unwrap()
    {
        GitAnswer::Rendered(rendered) => assert_eq!(names(&rendered.1.unwrap()), ["a"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_repository_has_a_largest_size() {
    let world = World::new();
    // hexadecimal digits of digests: they do not compress below half
    let noise = |seed: &str| {
        let mut text = String::new();
        for index in 0..2_000 {
            let _ = writeln!(text, "{:x?}", Sha256::digest(format!("{seed}{index}")));
        }
        text
    };
    world.write("noise", &noise("a"));
    world.write("a.yaml", &map("a"));
    let first = world.commit("One");
    world.write("noise", &noise("b"));
    let second = world.commit("Two");
    world.write("noise", &(noise("c") + &noise("d") + &noise("e") + &noise("f")));
    let third = world.commit("Three");

    let git = Git::new(Options {
        max_repository_bytes: 250_000,
        ..world.options()
    })
    .unwrap();
    for commit in [&first, &second, &first] {
        // each fits, both together do not
        let (_, rendered) = world.rendered(&git, commit, "").await;
        assert_eq!(names(&rendered.unwrap()), ["a"]);
    }
    let error = git.answer(world.render(&third, "", None)).await.unwrap_err();
    let expected = format!(
        "{}: one commit takes more than 250000 bytes, the limit for a repository",
        world.remote().url
    );
    assert_eq!(error, RemoteError::Refused(expected));
    let (_, rendered) = world.rendered(&git, &second, "").await;
    assert_eq!(names(&rendered.unwrap()), ["a"], "it goes on afterwards");
}

#[tokio::test]
async fn the_cache_has_one_owner_and_a_largest_size() {
    let world = World::new();
    world.write("a.yaml", &map("a"));
    let commit = world.commit("One");
    let git = Git::new(Options {
        max_cache_bytes: 1,
        ..world.options()
    })
    .unwrap();
    assert!(matches!(Git::new(world.options()), Err(SetupError::Cache { .. })));
    for _ in 0..2 {
        let (_, rendered) = world.rendered(&git, &commit, "").await;
        assert_eq!(names(&rendered.unwrap()), ["a"]);
        for name in ["repositories", "private", "home"] {
            let left = std::fs::read_dir(world.path("cache").join(name)).unwrap().count();
            assert_eq!(left, 0, "{name}");
        }
    }
    drop(git);
    std::fs::write(world.path("cache/private/key"), "left by a crash").unwrap();
    let _git = world.ours();
    assert!(!world.path("cache/private/key").exists());
    assert!(matches!(
        Git::new(Options::new("/tmp/a b".into())),
        Err(SetupError::Cache { .. })
    ));
    assert!(matches!(
        Git::new(Options::new("cache".into())),
        Err(SetupError::Cache { .. })
    ));
}

#[tokio::test]
async fn an_operation_that_was_given_up_does_no_harm() {
    let world = World::new();
    world.write("a.yaml", &map("a"));
    let commit = world.commit("One");
    let git = world.ours();
    for millis in [1, 5, 20, 40] {
        let answer = git.answer(world.render(&commit, "", None));
        let _ = tokio::time::timeout(Duration::from_millis(millis), answer).await;
    }
    let one = || world.rendered(&git, &commit, "");
    let (first, second, third) = tokio::join!(one(), one(), one());
    for (_, rendered) in [first, second, third] {
        assert_eq!(names(&rendered.unwrap()), ["a"]);
    }
}

/// A good commit, a bad one on top of it that changed another folder too, and what the good one renders to.
async fn good_and_bad(world: &World, git: &Git) -> (Oid, Oid, String) {
    world.write("shop/prod/a.yaml", &map("good"));
    world.write("shop/test/a.yaml", &map("test"));
    let good = world.commit("Good");
    world.write("shop/prod/a.yaml", &map("bad"));
    world.write("shop/prod/new.yaml", &map("new"));
    world.write("shop/test/a.yaml", &map("newer"));
    let bad = world.commit("Bad");
    let (_, rendered) = world.rendered(git, &good, "shop/prod").await;
    (good, bad, rendered.unwrap().digest)
}

#[tokio::test]
async fn a_folder_is_put_back_once() {
    let world = World::new();
    let git = world.ours();
    let (good, bad, digest) = good_and_bad(&world, &git).await;
    world.hook("post-receive", "echo push >> pushes");
    let order = world.restore(&bad, &good, &digest, "refs/heads/main");
    let first = git
        .answer(GitRequest::Restore(order.clone().into()))
        .await
        .unwrap();
    let GitAnswer::Restored(commit) = &first else {
        panic!("{first:?}");
    };
    assert_eq!(
        git.answer(GitRequest::Restore(order.clone().into()))
            .await
            .unwrap(),
        first
    );
    // and from a cache that knows nothing
    drop(git);
    let git = world.ours();
    assert_eq!(
        git.answer(GitRequest::Restore(order.into())).await.unwrap(),
        first
    );
    assert_eq!(
        std::fs::read_to_string(world.path("origin.git/pushes")).unwrap(),
        "push\n"
    );

    let show = |format: &str| {
        world.git(
            "origin.git",
            &["log", "-1", &format!("--format={format}"), "main"],
        )
    };
    assert_eq!(show("%H %P"), format!("{commit} {bad}"));
    assert_eq!(
        show("%an <%ae> %cn %at %ct"),
        "Tidegate <tidegate@example.com> Tidegate 1700000100 1700000100"
    );
    assert_eq!(
        show("%B"),
        format!("Put shop/prod back\n\nDelivery-Reverts: {bad}")
    );
    let tree = |commit: &str| world.git("origin.git", &["rev-parse", commit]);
    assert_eq!(tree("main:shop/prod"), tree(&format!("{good}:shop/prod")));
    assert_eq!(tree("main:shop/test"), tree(&format!("{bad}:shop/test")));
    let files = world.git("origin.git", &["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files, "shop/prod/a.yaml\nshop/test/a.yaml");
}

/// Two folders are made from one base, and from a file beside it: what one of them needs to be as it was.
#[tokio::test]
async fn files_outside_of_the_folder_are_named_and_put_back() {
    let world = World::new();
    let git = world.ours();
    let overlay = "resources: [../../base, ../../lib/b.yaml]\n";
    world.write("shop/prod/kustomization.yaml", overlay);
    world.write("shop/test/kustomization.yaml", overlay);
    world.write("base/kustomization.yaml", "resources: [a.yaml]\n");
    world.write("base/a.yaml", &map("a"));
    world.write("base/words.txt", "old");
    world.write("lib/b.yaml", &map("b"));
    let good = world.commit("Good");
    world.write("base/kustomization.yaml", "resources: [new.yaml]\n");
    std::fs::remove_file(world.path("clone/base/a.yaml")).unwrap();
    world.write("base/new.yaml", &map("new"));
    world.write("base/words.txt", "new");
    std::fs::remove_dir_all(world.path("clone/lib")).unwrap();
    world.write("shop/prod/kustomization.yaml", "resources: [../../base]\n");
    let bad = world.commit("Bad");
    let (_, rendered) = world.rendered(&git, &good, "shop/prod").await;
    let digest = rendered.unwrap().digest;

    let mut order = world.restore(&bad, &good, &digest, "refs/heads/tidegate/a");
    let outside = ["base/a.yaml", "base/kustomization.yaml", "lib/b.yaml"].map(str::to_owned);
    assert_eq!(
        git.answer(GitRequest::Restore(order.clone().into())).await,
        Ok(GitAnswer::NotTheSame(outside.to_vec()))
    );
    order.outside = outside.to_vec();
    let restored = git.answer(GitRequest::Restore(order.clone().into())).await;
    assert!(matches!(restored, Ok(GitAnswer::Restored(_))), "{restored:?}");
    let changed = world.git(
        "origin.git",
        &["diff", "--name-status", good.as_str(), "tidegate/a"],
    );
    assert_eq!(changed, "A\tbase/new.yaml\nM\tbase/words.txt");

    order.outside = vec!["base/../a".to_owned()];
    let error = git.answer(GitRequest::Restore(order.into())).await.unwrap_err();
    assert!(matches!(error, RemoteError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn a_repository_with_longer_names_of_objects() {
    let world = World::with("sha256");
    let git = world.ours();
    let (good, bad, digest) = good_and_bad(&world, &git).await;
    assert_eq!(bad.as_str().len(), 64);
    let order = world.restore(&bad, &good, &digest, "refs/heads/main");
    let restored = git.answer(GitRequest::Restore(order.into())).await.unwrap();
    let [(_, head)] = <[_; 1]>::try_from(world.heads(&git, &["refs/heads/main"]).await).unwrap();
    assert_eq!(restored, GitAnswer::Restored(head));
}

#[tokio::test]
async fn the_whole_tree_or_a_folder_that_is_gone_is_put_back() {
    let world = World::new();
    let git = world.ours();
    let (good, _, digest) = good_and_bad(&world, &git).await;
    std::fs::remove_dir_all(world.path("clone/shop")).unwrap();
    world.write("shop", "now a file");
    let gone = world.commit("Gone");
    let order = world.restore(&gone, &good, &digest, "refs/heads/tidegate/a");
    git.answer(GitRequest::Restore(order.into())).await.unwrap();
    let files = |branch: &str| world.git("origin.git", &["ls-tree", "-r", "--name-only", branch]);
    assert_eq!(files("tidegate/a"), "shop/prod/a.yaml");

    let (_, rendered) = world.rendered(&git, &good, "").await;
    let mut order = world.restore(&gone, &good, &rendered.unwrap().digest, "refs/heads/tidegate/b");
    order.path = String::new();
    git.answer(GitRequest::Restore(order.into())).await.unwrap();
    assert_eq!(files("tidegate/b"), "shop/prod/a.yaml\nshop/test/a.yaml");
    assert_eq!(files("main"), "shop");
}

#[tokio::test]
async fn a_person_who_was_faster_wins() {
    let world = World::new();
    let git = world.ours();
    let (good, bad, digest) = good_and_bad(&world, &git).await;
    world.write("shop/prod/a.yaml", &map("fixed"));
    world.git("clone", &["commit", "--quiet", "--all", "--message", "Fixed"]);
    let fixed = world.push("side");
    // between our look and our push
    let script = format!("unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main {fixed}");
    world.hook("pre-receive", &script);
    let order = || GitRequest::Restore(world.restore(&bad, &good, &digest, "refs/heads/main").into());
    assert_eq!(git.answer(order()).await, Ok(GitAnswer::Moved));
    // and seen at the look
    assert_eq!(git.answer(order()).await, Ok(GitAnswer::Moved));
    assert_eq!(world.git("origin.git", &["rev-parse", "main"]), fixed.as_str());
    // the base moved, so nothing is proposed either; a branch of that name that is something else is left
    // alone
    let aside = world.restore(&bad, &good, &digest, "refs/heads/tidegate/a");
    assert_eq!(
        git.answer(GitRequest::Restore(aside.into())).await,
        Ok(GitAnswer::Moved)
    );
    // what is on the branch that is only there for this is never overwritten
    let taken = world.restore(&fixed, &good, &digest, "refs/heads/side");
    assert_eq!(
        git.answer(GitRequest::Restore(taken.into())).await,
        Ok(GitAnswer::Restored(fixed.clone()))
    );
    assert_eq!(world.git("origin.git", &["rev-parse", "side"]), fixed.as_str());
}

#[tokio::test]
async fn only_a_commit_that_is_signed_by_who_may_is_signed() {
    let world = World::new();
    let git = world.ours();
    let keys = world.folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    let key = |name: &str| {
        let file = keys.join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&file)
            .status();
        assert!(made.unwrap().success());
        file
    };
    let (theirs, strangers) = (key("developer"), key("stranger"));
    let public = std::fs::read_to_string(theirs.with_extension("pub")).unwrap();
    let signers = Signers {
        ssh: format!("developer@example.com {public}"),
        pgp: Vec::new(),
    };
    let signed_by = |file: &Path, what: &str| {
        world.write("a.yaml", &map(what));
        world.git("clone", &["add", "--all"]);
        let signing_key = format!("user.signingKey={}", file.display());
        let args = [
            "-c",
            "gpg.format=ssh",
            "-c",
            &signing_key,
            "commit",
            "--quiet",
            "--gpg-sign",
            "--message",
            what,
        ];
        world.git("clone", &args);
        world.push("main")
    };
    let good = signed_by(&theirs, "good");
    let bad = signed_by(&strangers, "stranger");
    world.write("a.yaml", &map("unsigned"));
    world.git("clone", &["commit", "--quiet", "--all", "--message", "Unsigned"]);
    let unsigned = world.push("main");
    for (commit, is_signed) in [(good, true), (bad, false), (unsigned, false)] {
        let request = GitRequest::Render {
            remote: world.remote(),
            commit,
            path: String::new(),
            release: Release::default(),
            known: None,
            signers: Some(Box::new(signers.clone())),
        };
        let Ok(GitAnswer::Rendered(rendered)) = git.answer(request).await else {
            panic!("it is rendered");
        };
        assert_eq!(rendered.0.unsigned.is_none(), is_signed, "{:?}", rendered.0);
    }
}

#[tokio::test]
async fn a_commit_that_is_signed_by_a_pgp_key_is_signed() {
    let world = World::new();
    let git = world.ours();
    let file = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata/pgp")
            .join(name)
    };
    world.write("a.yaml", &map("pgp"));
    world.git("clone", &["add", "--all"]);
    world.git("clone", &["write-tree"]);
    let commit = world.git(
        "clone",
        &[
            "hash-object",
            "-t",
            "commit",
            "-w",
            file("commit-sha1").to_str().unwrap(),
        ],
    );
    let to = format!("+{commit}:refs/heads/main");
    world.git("clone", &["push", "--quiet", "../origin.git", &to]);
    let key = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let table = [
        (vec![key("bob.asc"), key("ann.asc")], Ok(None)),
        (vec![key("bob.asc")], Ok(Some("is not among those that count"))),
        (vec![], Ok(Some("is not among those that count"))),
        (vec!["x".to_owned()], Err("is no armored public key")),
    ];
    for (pgp, expected) in table {
        let request = GitRequest::Render {
            remote: world.remote(),
            commit: Oid::parse(&commit).unwrap(),
            path: String::new(),
            release: Release::default(),
            known: None,
            signers: Some(Box::new(Signers {
                ssh: String::new(),
                pgp,
            })),
        };
        match (git.answer(request).await, expected) {
            (Ok(GitAnswer::Rendered(rendered)), Ok(expected)) => {
                let unsigned = rendered.0.unsigned.as_deref();
                assert_eq!(unsigned.is_some(), expected.is_some(), "{unsigned:?}");
                assert!(
                    unsigned
                        .unwrap_or_default()
                        .contains(expected.unwrap_or_default()),
                    "{unsigned:?}"
                );
            }
            (Err(RemoteError::Refused(problem)), Err(expected)) => {
                assert!(problem.contains(expected), "{problem}");
            }
            (answer, _) => panic!("{answer:?}"),
        }
    }
}

#[tokio::test]
async fn a_ref_of_ours_points_to_the_last_good_commit() {
    let world = World::new();
    let git = world.ours();
    let (good, bad, _) = good_and_bad(&world, &git).await;
    let reference = "refs/tidegate/shop/prod/verified";
    for commit in [&good, &bad, &bad, &good] {
        let order = GitRequest::Point {
            remote: world.remote(),
            reference: reference.to_owned(),
            commit: commit.clone(),
        };
        assert_eq!(git.answer(order).await, Ok(GitAnswer::Pointed));
        assert_eq!(
            world.git("origin.git", &["rev-parse", reference]),
            commit.as_str()
        );
    }
    let elsewhere = GitRequest::Point {
        remote: world.remote(),
        reference: "refs/heads/main".to_owned(),
        commit: good,
    };
    assert!(matches!(
        git.answer(elsewhere).await,
        Err(RemoteError::Refused(_))
    ));
    assert_eq!(world.git("origin.git", &["rev-parse", "main"]), bad.as_str());
}

#[tokio::test]
async fn nothing_is_pushed_without_proof_or_permission() {
    let world = World::new();
    let git = world.ours();
    let (good, bad, digest) = good_and_bad(&world, &git).await;
    let order = world.restore(&bad, &good, "sha256:other", "refs/heads/main");
    assert_eq!(
        git.answer(GitRequest::Restore(order.into())).await,
        Ok(GitAnswer::NotTheSame(Vec::new()))
    );
    let order = world.restore(&bad, &good, &digest, "refs/heads/main");
    let denied = |change: &dyn Fn(&mut Restore)| {
        let mut order = order.clone();
        change(&mut order);
        git.answer(GitRequest::Restore(order.into()))
    };
    for change in [
        (&|order: &mut Restore| order.path = "shop/../prod".to_owned()) as &dyn Fn(&mut Restore),
        &|order| order.push_to = "refs/tags/v1".to_owned(),
        &|order| order.push_to = "main".to_owned(),
        &|order| order.author.0 = "A\nB".to_owned(),
        &|order| order.message = " ".to_owned(),
    ] {
        let error = denied(change).await.unwrap_err();
        assert!(matches!(error, RemoteError::Refused(_)), "{error:?}");
    }
    let error = denied(&|order| order.path = "shop/else".to_owned())
        .await
        .unwrap_err();
    assert!(matches!(error, RemoteError::NotFound(_)), "{error:?}");

    world.hook(
        "pre-receive",
        "echo 'GitLab: You are not allowed to push to protected branches'; exit 1",
    );
    let error = git.answer(GitRequest::Restore(order.into())).await.unwrap_err();
    let RemoteError::Denied(text) = &error else {
        panic!("{error:?}");
    };
    assert!(text.contains("(pre-receive hook declined)"), "{text}");
    assert!(
        text.ends_with("GitLab: You are not allowed to push to protected branches"),
        "{text}"
    );
    assert_eq!(world.git("origin.git", &["rev-parse", "main"]), bad.as_str());
}

#[tokio::test]
async fn a_web_server_gets_the_password_and_errors_do_not() {
    let world = World::new();
    let git = world.ours();
    for (status, kind) in [
        (401, "denied"),
        (403, "denied"),
        (404, "not found"),
        (301, "refused"),
        (500, "unavailable"),
    ] {
        let server = wiremock::MockServer::start().await;
        let template = wiremock::ResponseTemplate::new(status)
            .insert_header("location", "/elsewhere")
            .insert_header("www-authenticate", "Basic realm=\"x\"")
            .set_body_string("hunter2 Basic cm9ib3Q6aHVudGVyMg==");
        wiremock::Mock::given(wiremock::matchers::any())
            .respond_with(template)
            .mount(&server)
            .await;
        let remote = Remote {
            url: format!("{}/a.git", server.uri()),
            credentials: Credentials::Basic {
                username: "robot".to_owned(),
                password: "hunter2".to_owned(),
            },
        };
        let refs = vec!["refs/heads/main".to_owned()];
        let error = git.answer(GitRequest::Heads { remote, refs }).await.unwrap_err();
        let found = match &error {
            RemoteError::Denied(_) => "denied",
            RemoteError::NotFound(_) => "not found",
            RemoteError::Refused(_) => "refused",
            RemoteError::Unavailable(_) => "unavailable",
        };
        assert_eq!(found, kind, "{status}: {error}");
        let text = format!("{error:?}");
        assert!(!text.contains("hunter2") && !text.contains("cm9ib3Q6"), "{text}");
        let requests = server.received_requests().await.unwrap();
        assert_eq!(
            requests.first().unwrap().headers["authorization"],
            "Basic cm9ib3Q6aHVudGVyMg=="
        );
        let elsewhere = requests.iter().any(|request| request.url.path() == "/elsewhere");
        assert!(!elsewhere, "redirects are not followed");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let world = World::new();
    let git = Git::new(Options {
        timeout: Duration::from_millis(500),
        ..world.options()
    })
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a", listener.local_addr().unwrap());
    let remote = Remote {
        url: url.clone(),
        credentials: Credentials::None,
    };
    let refs = vec!["refs/heads/main".to_owned()];
    let error = git.answer(GitRequest::Heads { remote, refs }).await.unwrap_err();
    assert_eq!(
        error,
        RemoteError::Unavailable(format!("look at refs of {url}: no end within 0.5 s"))
    );
}

#[test]
fn each_address_and_credentials_have_a_folder_of_their_own() {
    let basic = |username: &str, password: &str| Remote {
        url: "https://git.test/a".to_owned(),
        credentials: Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        },
    };
    let public = Remote {
        url: "https://git.test/a".to_owned(),
        credentials: Credentials::None,
    };
    let remotes = [public, basic("a", "bc"), basic("ab", "c"), basic("a", "b")];
    let names: BTreeSet<String> = remotes.iter().map(folder_name).collect();
    assert_eq!(names.len(), 4);
    assert!(
        names
            .iter()
            .all(|name| name.len() == 64 && Path::new(name).components().count() == 1)
    );
}
