use super::*;
use crate::hub::memory::{MAX_TAGS, MAX_TEXT};
use crate::hub::store::open;

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

fn database() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("memory.db")).unwrap();
    (dir, database)
}

fn draft(text: &str) -> Draft {
    Draft {
        text: text.into(),
        importance: 5,
        ..Draft::default()
    }
}

fn query(text: &str) -> Query {
    Query {
        text: text.into(),
        limit: 5,
        ..Query::default()
    }
}

fn add(database: &mut Database, name: &str, text: &str) -> String {
    database
        .remember(&unit(name), draft(text), "agent")
        .unwrap()
        .id
}

fn texts(database: &mut Database, name: &str, question: &str) -> Vec<String> {
    let hits = database.recall(&unit(name), query(question)).unwrap();
    hits.into_iter().map(|hit| hit.text).collect()
}

#[test]
fn what_is_remembered_is_recalled_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory.db");
    let id = add(
        &mut open(&path).unwrap(),
        "a.agent",
        "The deploy key is in the vault",
    );
    let hits = open(&path)
        .unwrap()
        .recall(&unit("a.agent"), query("where is the deploy key?"))
        .unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].id, id);
    assert_eq!(id.len(), 26);
    assert!(hits[0].why.contains("relevance 1.00"), "{}", hits[0].why);
}

#[test]
fn no_unit_sees_or_changes_what_is_another_s() {
    let (_dir, mut database) = database();
    let id = add(&mut database, "a.agent", "alpha secret word");
    add(&mut database, "b.agent", "beta secret word");
    assert_eq!(
        texts(&mut database, "b.agent", "alpha secret"),
        ["beta secret word"]
    );
    for question in ["", "a.agent", "* OR alpha", "秘密alpha", "🚀"] {
        let seen = texts(&mut database, "b.agent", question);
        assert!(
            seen.iter().all(|text| text.starts_with("beta")),
            "{question:?}: {seen:?}"
        );
    }
    assert!(matches!(
        database.forget(&unit("b.agent"), &id, ""),
        Err(Fault::Unknown { .. })
    ));
    let thief = Draft {
        supersedes: Some(id.clone()),
        ..draft("mine now")
    };
    assert!(matches!(
        database.remember(&unit("b.agent"), thief, "agent"),
        Err(Fault::Unknown { .. })
    ));
    // The failed one left nothing behind, and similar texts of others are not shown.
    assert_eq!(database.count(&unit("b.agent")).unwrap(), 1);
    let same = database
        .remember(&unit("b.agent"), draft("alpha secret word"), "agent")
        .unwrap();
    assert!(
        same.new && same.similar.iter().all(|other| other.id != id),
        "{same:?}"
    );
    assert_eq!(
        texts(&mut database, "a.agent", "alpha"),
        ["alpha secret word"]
    );
}

#[test]
fn forgetting_deletes_the_text_and_keeps_the_reason() {
    let (_dir, mut database) = database();
    let id = add(&mut database, "a.agent", "obsolete fact");
    database.forget(&unit("a.agent"), &id, "wrong").unwrap();
    assert!(texts(&mut database, "a.agent", "obsolete").is_empty());
    assert!(matches!(
        database.forget(&unit("a.agent"), &id, ""),
        Err(Fault::Unknown { .. })
    ));
    assert_eq!(database.count(&unit("a.agent")).unwrap(), 0);
    let reason: String = database
        .connection()
        .query_row("SELECT reason FROM forgotten WHERE id = ?1", [&id], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(reason, "wrong");
}

#[test]
fn the_index_stays_true_to_the_table() {
    let (_dir, mut database) = database();
    let first = add(&mut database, "a.agent", "one thing");
    let second = add(&mut database, "a.agent", "another thing");
    let newer = Draft {
        supersedes: Some(first.clone()),
        ..draft("one newer thing")
    };
    database.remember(&unit("a.agent"), newer, "agent").unwrap();
    database.forget(&unit("a.agent"), &first, "").unwrap();
    database.forget(&unit("a.agent"), &second, "").unwrap();
    let check = "INSERT INTO memory_fts(memory_fts, rank) VALUES ('integrity-check', 1)";
    database.connection().execute(check, []).unwrap();
    assert_eq!(
        texts(&mut database, "a.agent", "thing"),
        ["one newer thing"]
    );
}

#[test]
fn superseded_memories_are_not_found_however_many_they_are() {
    let (_dir, mut database) = database();
    let mut id = add(&mut database, "a.agent", "the release is number 0");
    for number in 1..150 {
        let next = Draft {
            supersedes: Some(id),
            ..draft(&format!("the release is number {number}"))
        };
        id = database
            .remember(&unit("a.agent"), next, "agent")
            .unwrap()
            .id;
    }
    assert_eq!(
        texts(&mut database, "a.agent", "release number"),
        ["the release is number 149"]
    );
}

#[test]
fn near_copies_are_named_and_equal_ones_not_stored_twice() {
    let (_dir, mut database) = database();
    let id = add(
        &mut database,
        "a.agent",
        "The staging database runs on port 5433",
    );
    let again = database
        .remember(
            &unit("a.agent"),
            draft("The staging database runs on port 5433 "),
            "agent",
        )
        .unwrap();
    assert!(!again.new && again.id == id);
    let near = database
        .remember(
            &unit("a.agent"),
            draft("The staging database runs on port 5500"),
            "agent",
        )
        .unwrap();
    assert!(near.new);
    assert_eq!(near.similar[0].id, id);
    let other = database
        .remember(
            &unit("a.agent"),
            draft("Anna prefers short commits"),
            "agent",
        )
        .unwrap();
    assert!(other.similar.is_empty(), "{other:?}");
}

#[test]
fn importance_breaks_ties_and_filters_filter() {
    let (_dir, mut database) = database();
    let mut with = |text: &str, importance, layer, tag: &str| {
        let draft = Draft {
            importance,
            layer,
            tags: vec![tag.into()],
            ..draft(text)
        };
        database.remember(&unit("a.agent"), draft, "agent").unwrap();
    };
    with(
        "build fails without network, monday",
        2,
        Layer::Episodic,
        "ci",
    );
    with(
        "build fails without network, sunday",
        9,
        Layer::Semantic,
        "Über-ci",
    );
    let mut ask = |question: Query| database.recall(&unit("a.agent"), question).unwrap();
    assert!(ask(query("build network"))[0].text.ends_with("sunday"));
    let layered = ask(Query {
        layer: Some(Layer::Episodic),
        ..query("build network")
    });
    assert!(layered.len() == 1 && layered[0].text.ends_with("monday"));
    let tagged = ask(Query {
        tags: vec!["über-CI".into()],
        ..query("")
    });
    assert!(
        tagged.len() == 1 && tagged[0].text.ends_with("sunday"),
        "{tagged:?}"
    );
    assert!(
        ask(Query {
            tags: vec!["c".into()],
            ..query("build")
        })
        .is_empty()
    );
    assert_eq!(ask(query("")).len(), 2);
}

#[test]
fn every_script_is_found() {
    let (_dir, mut database) = database();
    for text in [
        "Der Schlüssel liegt in Zürich",
        "Серверы стоят в Москве",
        "東京の天気は晴れです",
        "데이터베이스 비밀번호는 금고에 있다",
        "Rakete 🚀 gestartet",
        "รหัสผ่านอยู่ในตู้เซฟ",
        "مفتاح النشر في الخزنة",
    ] {
        add(&mut database, "a.agent", text);
    }
    for (question, part) in [
        ("schlussel", "Schlüssel"),
        ("ZÜRICH", "Zürich"),
        ("сервер Москва", "Серверы"),
        ("天気", "東京"),
        ("東京で", "東京"),
        ("데이터베이스", "데이터"),
        ("비밀번호", "비밀"),
        ("🚀", "🚀"),
        ("ตู้เซฟ", "ตู้เซฟ"),
        ("الخزنة", "الخزنة"),
    ] {
        let found = texts(&mut database, "a.agent", question);
        assert!(
            found.first().is_some_and(|text| text.contains(part)),
            "{question}: {found:?}"
        );
    }
}

#[test]
fn nothing_an_agent_writes_is_a_syntax_error() {
    let (_dir, mut database) = database();
    add(
        &mut database,
        "a.agent",
        "O'Brien's \"quoted\" NEAR(x) AND text:*",
    );
    for question in [
        "\"",
        "'",
        "AND",
        "OR NOT",
        "NEAR(a b, 2)",
        "text:x",
        "a*",
        "^a",
        "(",
        ")",
        "-a",
        "a\0b",
        "{tags}:x",
        "O'Brien's",
        "%_",
        "\\",
        "' OR 1=1 --",
    ] {
        database.recall(&unit("a.agent"), query(question)).unwrap();
        let tags = vec![question.to_owned()];
        database
            .recall(
                &unit("a.agent"),
                Query {
                    tags: tags.clone(),
                    ..query("x")
                },
            )
            .unwrap();
        let odd = Draft {
            tags,
            ..draft(&format!("text {question}"))
        };
        database.remember(&unit("a.agent"), odd, "agent").unwrap();
    }
    let found = texts(&mut database, "a.agent", "quoted O'Brien");
    assert!(
        found
            .iter()
            .any(|text| text.starts_with("O'Brien's \"quoted")),
        "{found:?}"
    );
}

#[test]
fn limits_are_checked_here_too() {
    let (_dir, mut database) = database();
    let long = draft(&"x".repeat(MAX_TEXT + 1));
    assert!(matches!(
        database.remember(&unit("a.agent"), long, "agent"),
        Err(Fault::Invalid(_))
    ));
    let tags = Draft {
        tags: vec!["t".into(); MAX_TAGS + 1],
        ..draft("x")
    };
    assert!(matches!(
        database.remember(&unit("a.agent"), tags, "agent"),
        Err(Fault::Invalid(_))
    ));
    database.quota = 3;
    for number in 0..3 {
        add(&mut database, "a.agent", &format!("fact {number}"));
    }
    let fault = database
        .remember(&unit("a.agent"), draft("one more"), "agent")
        .unwrap_err();
    assert!(fault.to_string().contains("3 memories"), "{fault}");
    add(&mut database, "b.agent", "others are not concerned");
    let id = database.recall(&unit("a.agent"), query("fact")).unwrap()[0]
        .id
        .clone();
    database.forget(&unit("a.agent"), &id, "").unwrap();
    add(&mut database, "a.agent", "now there is room");
}

/// The bytes that the quota counts, and those that are there.
fn bytes(database: &Database) -> (i64, i64) {
    let counted = "SELECT sum(bytes) FROM unit";
    let there = "SELECT coalesce(sum(octet_length(text || tags || context)), 0) FROM memory";
    let number = |sql| {
        let connection = database.connection();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    (number(counted), number(there))
}

#[test]
fn a_unit_has_so_much_text_and_is_told_what_to_forget() {
    let (_dir, mut database) = database();
    database.quota_bytes = 4 * 1024;
    let text = |number: u32| format!("{number} {}", "é".repeat(498));
    let first = add(&mut database, "a.agent", &text(0));
    let second = add(&mut database, "a.agent", &text(1));
    let newer = Draft {
        supersedes: Some(second.clone()),
        tags: vec!["one".into(), "two".into()],
        context: "why".into(),
        ..draft(&text(2))
    };
    let size = i64::try_from(newer.size()).unwrap();
    let before = bytes(&database);
    database.remember(&unit("a.agent"), newer, "agent").unwrap();
    assert_eq!(bytes(&database), (before.0 + size, before.1 + size));
    add(&mut database, "a.agent", &text(3));
    let fault = database
        .remember(&unit("a.agent"), draft(&text(4)), "agent")
        .unwrap_err()
        .to_string();
    assert!(fault.contains("4 KiB of memories"), "{fault}");
    // What was superseded is named before what is merely old.
    let (outdated, old) = (fault.find(&second).unwrap(), fault.find(&first).unwrap());
    assert!(outdated < old, "{fault}");
    add(&mut database, "a.agent", "what is small enough still fits");
    add(&mut database, "b.agent", &text(5));
    database.forget(&unit("a.agent"), &second, "").unwrap();
    add(&mut database, "a.agent", &text(4));
    let (counted, there) = bytes(&database);
    assert_eq!(counted, there);
}

#[test]
fn an_older_database_learns_how_much_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(crate::hub::schema::STEPS[0]).unwrap();
    old.execute_batch(
        "INSERT INTO unit(number, name) VALUES (1, 'a.agent'), (2, 'b.agent');
         INSERT INTO memory(key, id, layer, importance, created, source, tags, context, text)
           VALUES (1 << 32 | 1, 'x', 'core', 5, 0, 'agent', 'ops', '', 'é'),
                  (2 << 32 | 1, 'y', 'core', 5, 0, 'agent', '', 'where', 'fact');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let mut database = open(&path).unwrap();
    assert_eq!(bytes(&database), (5 + 9, 5 + 9));
    database.forget(&unit("a.agent"), "x", "").unwrap();
    assert_eq!(bytes(&database), (9, 9));
    assert_eq!(texts(&mut database, "b.agent", "fact"), ["fact"]);
}

#[test]
fn uses_are_counted_in_batches() {
    let (_dir, mut database) = database();
    for number in 0..100 {
        add(&mut database, "a.agent", &format!("fact number {number}"));
    }
    let many = Query {
        limit: 50,
        ..query("fact")
    };
    database.recall(&unit("a.agent"), many).unwrap();
    let uses = |database: &Database| -> u32 {
        database
            .connection()
            .query_row("SELECT sum(uses) FROM memory", [], |row| row.get(0))
            .unwrap()
    };
    database.settle().unwrap();
    assert_eq!(uses(&database), 0);
    let many = Query {
        limit: 50,
        ..query("")
    };
    database.recall(&unit("a.agent"), many).unwrap();
    database.settle().unwrap();
    assert_eq!(uses(&database), 100);
}

/// A project's memories as an agent would write them, and the questions it would ask later.
#[test]
fn the_right_memory_comes_first() {
    let (_dir, mut database) = database();
    let memories = [
        "The production database is PostgreSQL 16 on host db1, port 5432",
        "The staging database is PostgreSQL 15 on host stage, port 5433",
        "Deploy with `make deploy`; it needs the VPN and takes four minutes",
        "Anna Keller is the release manager and approves every deployment",
        "Tom prefers small pull requests with a test for each bug",
        "The login test is flaky because the mail server answers slowly",
        "API tokens are stored in the vault under kv/webshop/api",
        "The payment provider's sandbox rejects cards that end in 0002",
        "We chose Redis over Memcached because we need sorted sets",
        "The build failed on Monday: node 18 was removed from the CI image",
        "Invoices are rendered by wkhtmltopdf, which needs the package fonts-liberation",
        "Nightly backups go to the bucket shop-backup and are kept for 30 days",
        "The customer table has 2.3 million rows; never run ALTER on it at daytime",
        "The frontend is written in Svelte; React was removed in March",
        "Error E1042 means that the stock service did not answer in time",
        "Translations live in locale/*.po and are synchronised with Weblate",
        "The staging certificate expires on 1 February and is renewed by hand",
        "Feature flags are read from the table settings at start, so a restart is needed",
        "The search index is rebuilt with bin/reindex, which takes an hour",
        "Do not touch the folder legacy/: Peter is rewriting it",
        "Log files are rotated daily in /var/log/webshop",
        "The cron job for exchange rates runs at 06:15 UTC",
        "Unit tests run with `cargo nextest run`, integration tests need docker",
        "The rate limit of the shipping API is 60 requests a minute",
        "Maria in accounting needs the monthly report as a spreadsheet",
        "Images are resized by the thumbnailer worker with libvips",
        "The main branch is protected: two reviews are required for a merge",
        "Sessions last 12 hours and are kept in Redis",
        "The company's VAT number is DE812345678",
        "When the queue grows, start another worker with `shop worker --extra`",
    ];
    for text in memories {
        add(&mut database, "a.agent", text);
    }
    let questions = [
        ("how do I deploy?", "make deploy"),
        ("who approves deployments", "Anna"),
        ("production database port", "5432"),
        ("staging database version", "PostgreSQL 15"),
        ("why is the login test failing sometimes", "flaky"),
        ("where are API tokens", "vault"),
        ("redis or memcached decision", "sorted sets"),
        ("what does E1042 mean", "stock service"),
        ("backup retention", "30 days"),
        ("may I alter the customer table now?", "2.3 million"),
        ("which JavaScript frontend framework", "Svelte"),
        ("rebuilding the search index", "bin/reindex"),
        ("shipping API limits", "60 requests"),
        ("how many reviews before merging", "two reviews"),
        ("Maria's report format", "spreadsheet"),
        ("queue is growing, what to do", "--extra"),
        ("when do certificates expire", "1 February"),
        ("run the integration tests", "nextest"),
    ];
    let mut missed = vec![];
    for (question, part) in questions {
        let found = texts(&mut database, "a.agent", question);
        assert!(
            found.iter().any(|text| text.contains(part)),
            "{question}: not in {found:#?}"
        );
        if !found[0].contains(part) {
            missed.push((question, found[0].clone()));
        }
    }
    assert!(missed.len() <= 1, "not first: {missed:#?}");
}

#[test]
fn common_words_do_not_hide_rare_ones() {
    let (_dir, mut database) = database();
    add(
        &mut database,
        "a.agent",
        "the service quux listens on port 7",
    );
    for number in 0..600 {
        add(
            &mut database,
            "a.agent",
            &format!("the service on port number {number}"),
        );
    }
    // The index knows "nowhere" nowhere, "service" and "port" everywhere, and "quux" once.
    let found = texts(&mut database, "a.agent", "nowhere service port quux");
    assert!(found[0].contains("quux"), "{found:?}");
    assert_eq!(found.len(), 5, "the rest is filled from the newest");
    assert!(found[1].ends_with("599"), "{found:?}");
    let tagged = Query {
        tags: vec!["none".into()],
        ..query("service port quux")
    };
    assert!(
        database
            .recall(&unit("a.agent"), tagged)
            .unwrap()
            .is_empty()
    );
}
