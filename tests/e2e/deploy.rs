//! Redeployment: objects keep what they stored and use the new version from their next turn on.

use std::path::PathBuf;

use crate::harness::{Host, at_once, files_below, guest};

/// `counter` and `faults` both keep a number under the key `n`.
#[test]
fn a_new_version_finds_the_state_of_the_old_one() {
    let mut host = Host::start();
    let first = host.deploy("shape", guest("counter"));
    assert_eq!((&first["version"], &first["changed"]), (&1.into(), &true.into()));
    assert_eq!(host.get("/shape/alice").text(), "1");
    assert_eq!(host.get("/shape/alice").text(), "2");

    let second = host.deploy("shape", guest("faults"));
    assert_eq!((&second["version"], &second["changed"]), (&2.into(), &true.into()));
    assert_eq!(second["created"], first["created"]);
    assert_ne!(second["digest"], first["digest"]);
    assert_eq!(host.get("/shape/alice/get").text(), "2");
    assert_eq!(host.get("/shape/alice/put?n=41").text(), "41");

    let third = host.deploy("shape", guest("counter"));
    assert_eq!((&third["version"], &third["digest"]), (&3.into(), &first["digest"]));
    assert_eq!(host.get("/shape/alice").text(), "42");

    host.kill();
    host.restart();
    assert_eq!(host.admin().get("/v1/classes/shape").json()["version"], 3);
    assert_eq!(host.get("/shape/alice").text(), "43");
}

#[test]
fn versions_are_told_and_one_can_be_deployed_again() {
    let mut host = Host::start();
    host.deploy("shape", guest("counter"));
    assert_eq!(host.get("/shape/alice").text(), "1");
    let second =
        host.admin().put("/v1/classes/shape?message=keeps%20it%0Aelsewhere&create=any", guest("faults")).json();
    assert_eq!((&second["version"], &second["message"]), (&2.into(), &"keeps it\nelsewhere".into()));
    let output = host.run(&["classes", "rollback", "shape", "1", "--message", "as it was"]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it prints text");
    assert!(text(&output.stdout).starts_with("deployed  shape version 3, "), "{output:?}");
    assert_eq!(host.get("/shape/alice").text(), "2", "the code of version 1 finds what is stored");

    let told = |host: &Host| {
        let class = host.admin().get("/v1/classes/shape").json();
        let versions = class["versions"].as_array().expect("its versions").clone();
        assert_eq!(class["version"], versions[0]["version"], "the current one comes first");
        assert_eq!(versions[0]["digest"], versions[2]["digest"]);
        let one = |version: &serde_json::Value| {
            let message = version["message"].as_str().unwrap_or("-");
            format!("{} {} {message}", version["version"], version["create"].as_str().expect("a word"))
        };
        versions.iter().map(one).collect::<Vec<_>>()
    };
    let expected = ["3 stored as it was", "2 any keeps it\nelsewhere", "1 stored -"];
    assert_eq!(told(&host), expected);
    let listed = text(&host.run(&["classes", "versions", "shape"]).stdout);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines.len() == 4 && lines[1].ends_with("as it was") && lines[2].ends_with("keeps it"), "{listed}");
    host.kill();
    host.restart();
    assert_eq!(told(&host), expected);

    let put = |query: &str, body: &str| host.admin().put(&format!("/v1/classes/{query}"), body);
    put("shape?version=4", "").problem(404, "unknown-version");
    put("none?version=1", "").problem(404, "unknown-class");
    put("shape?version=1", "component").problem(413, "body-too-large");
    put(&format!("shape?version=1&message={}", "m".repeat(1025)), "").problem(400, "bad-query");
    assert_eq!(told(&host), expected);
}

#[test]
fn what_no_version_names_goes_with_its_compiled_code() {
    let mut host = Host::start();
    let names = |host: &Host, below: &str| {
        let name = |file: PathBuf| file.file_name().expect("a file").to_string_lossy().into_owned();
        let mut names: Vec<_> = files_below(&host.data_directory().join(below)).into_iter().map(name).collect();
        names.sort();
        names
    };
    let files = |host: &Host, digests: &[&str]| {
        let of = |extensions: &[&str]| {
            let name =
                |digest: &&str| extensions.iter().map(|extension| format!("{digest}.{extension}")).collect::<Vec<_>>();
            let mut names: Vec<_> = digests.iter().flat_map(name).collect();
            names.sort();
            names
        };
        assert_eq!(names(host, "classes/components"), of(&["wasm"]));
        assert_eq!(names(host, "cache"), of(&["cwasm", "mac"]));
    };
    let digest = |deployed: serde_json::Value| deployed["digest"].as_str().expect("a digest").to_owned();
    let counter = digest(host.deploy("shape", guest("counter")));
    let faults = digest(host.deploy("shape", guest("faults")));
    host.deploy("other", guest("counter"));
    // Compiled, then refused or not stored: nothing of it remains.
    assert_eq!(host.admin().put("/v1/classes/bad", "no component").status, 422);
    files(&host, &[&counter, &faults]);
    assert_eq!(host.admin().delete("/v1/classes/shape").status, 204);
    files(&host, &[&counter]);
    assert_eq!(host.get("/other/alice").text(), "1");

    host.kill();
    let stray = "0".repeat(64);
    let engine =
        std::fs::read_dir(host.data_directory().join("cache")).expect("it is there").next().expect("an engine");
    let engine = engine.expect("it can be read").path();
    std::fs::write(host.data_directory().join(format!("classes/components/{stray}.wasm")), "")
        .expect("it can be written");
    for extension in ["cwasm", "mac", "tmp"] {
        std::fs::write(engine.join(format!("{stray}.{extension}")), "").expect("it can be written");
    }
    host.restart();
    files(&host, &[&counter]);
    assert_eq!(host.get("/other/alice").text(), "2");
}

#[test]
fn the_same_component_again_changes_nothing() {
    let host = Host::start();
    assert_eq!(host.admin().put("/v1/classes/construct", guest("construct")).status, 201);
    assert_eq!(host.get("/construct/alice").json()["turns_of_this_instance"], 1);
    let again = host.admin().put("/v1/classes/construct", guest("construct"));
    assert_eq!(
        (again.status, again.json()["changed"].as_bool(), again.json()["version"].as_u64()),
        (200, Some(false), Some(1))
    );
    assert_eq!(host.get("/construct/alice").json()["turns_of_this_instance"], 2, "the instance stays");
}

#[test]
fn a_running_turn_ends_on_its_old_version() {
    let host = Host::start();
    host.deploy("shape", guest("faults"));
    // Built and compiled before the clock runs, and before an instance is idle: the deploy below takes the code from
    // the cache.
    host.deploy("other", guest("counter"));
    assert_eq!(host.get("/shape/alice/put?n=7").text(), "7");
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| host.get("/shape/bob/sleep?ms=3000"));
        host.wait_for_live_instances(2);
        host.deploy("shape", guest("counter"));
        assert_eq!(host.get("/shape/alice").text(), "8");
        assert!(!sleeper.is_finished(), "the deploy waited for no turn");
        assert_eq!(sleeper.join().unwrap().text(), "slept");
    });
    assert_eq!(host.get("/shape/bob").text(), "1");
}

#[test]
fn a_deploy_says_what_the_class_can_do() {
    let host = Host::start();
    let component = guest("construct");
    let deployed = host.deploy("construct", &component);
    assert_eq!(deployed["name"], "construct");
    assert_eq!(deployed["size"], component.len());
    assert_eq!(deployed["digest"].as_str().unwrap().len(), 64);
    let names = |list: &str| -> Vec<String> { serde_json::from_value(deployed[list].clone()).unwrap() };
    assert!(names("exports").contains(&"holdfast:object/fetch-handler@0.2.0".into()), "{deployed}");
    assert!(names("imports").contains(&"holdfast:object/key-value@0.2.0".into()), "{deployed}");
    let mut shown = host.admin().get("/v1/classes/construct").json();
    let versions = shown.as_object_mut().expect("an object").remove("versions").expect("its versions");
    assert_eq!((versions[0]["digest"].clone(), versions.as_array().map(Vec::len)), (shown["digest"].clone(), Some(1)));
    shown["changed"] = true.into();
    assert_eq!(shown, deployed);
}

#[test]
fn deploys_at_the_same_time_do_not_mix() {
    let host = Host::start();
    let guests = ["counter", "faults"].map(guest);
    at_once(8, |thread| host.deploy("shape", &guests[thread % 2]));
    let class = host.admin().get("/v1/classes/shape").json();
    let is_counter = class["size"] == guests[0].len();
    assert_eq!(host.get("/shape/alice/get").text(), if is_counter { "1" } else { "0" }, "{class}");
}
