//! What users see of templates; the expected texts are those of Go's text/template.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn render(template: &str, value: &Value) -> Result<String, String> {
    Template::parse(template)
        .and_then(|template| template.render(value))
        .map_err(|failure| failure.message.unwrap_or_default())
}

/// A container as `inspect` shows it, in part.
fn container() -> Value {
    json!({
        "Id": "0123", "Name": "/web", "Args": ["a", "b c"], "RestartCount": 0,
        "State": {"Status": "running", "Running": true, "Paused": false, "ExitCode": 3},
        "Config": {"Labels": {"a.b": "x", "z": "<1>"}, "Env": ["A=1", "B=2"], "Entrypoint": null, "Volumes": null, "ExposedPorts": {"80/tcp": {}}},
        "HostConfig": {"CpuShares": 7, "PortBindings": {}},
        "Mounts": [{"Type": "bind", "Source": "/srv"}],
        "NetworkSettings": {
            "Networks": {"front": {"IPAddress": "10.0.0.2"}, "back": {"IPAddress": "10.0.0.1"}},
            "Ports": {"80/tcp": [{"HostPort": "8080"}, {"HostPort": "8081"}], "443/tcp": null}
        }
    })
}

#[track_caller]
fn shows(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(
            render(template, &container()).as_deref(),
            Ok(*expected),
            "{template}"
        );
    }
}

#[test]
fn fields_text_and_json_are_put_together() {
    shows(&[
        ("{{.Name}}", "/web"),
        (
            "{{ .Name }}: {{.State.ExitCode}}\\t{{.State.Running}}\\n",
            "/web: 3\ttrue\n",
        ),
        (
            "{{json .Args}} {{.Name | json}}",
            "[\"a\",\"b c\"] \"/web\"",
        ),
        ("{{.Args}} {{.Config.Labels}}", "[a b c] map[a.b:x z:<1>]"),
        ("plain", "plain"),
        ("", ""),
        ("{{/* nothing */}}{{- /* here */ -}}", ""),
    ]);
    assert_eq!(
        render("{{json .}}", &container()),
        Ok(container().to_string())
    );
}

#[test]
fn what_people_write_for_docker_works() {
    shows(&[
        (
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
            "10.0.0.1 10.0.0.2 ",
        ),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        (
            "{{if .State.Paused}}held{{else if eq .State.ExitCode 3}}three{{else}}no{{end}}",
            "three",
        ),
        (
            "{{index .Config.Labels \"a.b\"}}|{{index .Config.Labels \"c\"}}",
            "x|",
        ),
        (
            "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
            "8080",
        ),
        (
            "{{(index .NetworkSettings.Ports \"80/tcp\" 1).HostPort}}",
            "8081",
        ),
        (
            "{{range $port, $to := .NetworkSettings.Ports}}{{$port}}={{len $to}} {{end}}",
            "443/tcp=0 80/tcp=2 ",
        ),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
            "a.b=x;z=<1>;",
        ),
        (
            "{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}",
            "A=1,B=2",
        ),
        (
            "{{range .HostConfig.PortBindings}}x{{else}}none{{end}}",
            "none",
        ),
        (
            "{{with .State}}{{.Status}} of {{$.Name}}{{end}}",
            "running of /web",
        ),
        (
            "{{with .State.Health}}{{.Status}}{{else}}unchecked{{end}}",
            "unchecked",
        ),
        (
            "{{.Config.Entrypoint}} {{.Config.Volumes}} {{.State.Health}}",
            "[] map[] <nil>",
        ),
        (
            "{{.Config.ExposedPorts}} {{index .NetworkSettings.Ports \"9/tcp\"}}",
            "map[80/tcp:{}] <no value>",
        ),
        (
            "{{.Config.Labels.none}} {{.Config.Labels.none.at.all}}",
            "<no value> <no value>",
        ),
        ("{{.ID}} {{.HostConfig.CPUShares}}", "0123 7"),
        ("{{range .Mounts}}{{.Name}}:{{.Source}}{{end}}", ":/srv"),
        ("{{$x := 1}}{{range .Args}}{{$x = .}}{{end}}{{$x}}", "b c"),
        ("{{range .Args -}}\n  {{.}}\n{{- end}}", "ab c"),
        (
            "{{range 3}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}",
            "02",
        ),
        ("{{(.State).ExitCode | printf \"%03d\"}}", "003"),
    ]);
}

#[test]
fn functions_are_those_of_go_and_docker() {
    shows(&[
        ("{{and 1 0 2}} {{or 0 \"\" \"x\"}} {{not 0}}", "0 x true"),
        (
            "{{or true (index .Args 9)}} {{and false (index .Args 9)}}",
            "true false",
        ),
        (
            "{{eq 1 2 1}} {{ne 1 2}} {{lt 1 2}} {{le \"a\" \"a\"}} {{gt 1 2}} {{ge 2 1}}",
            "true true true true false true",
        ),
        (
            "{{len .Name}} {{len .Args}} {{len .Config.Labels}}",
            "4 2 2",
        ),
        (
            "{{slice .Name 1}} {{slice .Name 1 2}} {{slice .Args 0 1}}",
            "web w [a]",
        ),
        ("{{print 1 2 \"x\" 3}} {{println 1 \"a\"}}", "1 2x3 1 a\n"),
        ("{{html \"<a>&'\\\"\"}}", "&lt;a&gt;&amp;&#39;&#34;"),
        (
            "{{js \"it's <b>\"}} {{urlquery \"a b/é\"}}",
            "it\\'s \\u003Cb\\u003E a+b%2F%C3%A9",
        ),
        ("{{split .Name \"e\"}} {{join .Args \",\"}}", "[/w b] a,b c"),
        (
            "{{title \"a b_c-d\"}} {{upper \"é\"}} {{lower \"A\"}}",
            "A B_c-D É a",
        ),
        (
            "{{pad .Name 1 2}}|{{pad \"\" 1 2}}|{{truncate .Name 2}}|{{truncate \"é\" 1}}",
            " /web  ||/w|",
        ),
        ("{{.Name | printf \"%s-%s\" \"a\" | upper}}", "A-/WEB"),
    ]);
}

#[test]
fn printf_knows_the_verbs_of_go() {
    shows(&[
        (
            "{{printf \"%s|%5s|%-5s|%.1s\" \"ab\" \"ab\" \"ab\" \"ab\"}}",
            "ab|   ab|ab   |a",
        ),
        (
            "{{printf \"%q %q %q\" \"a\\\"\\n\" 65 .Args}}",
            "\"a\\\"\\n\" 'A' [\"a\" \"b c\"]",
        ),
        (
            "{{printf \"%d|%05d|%-5d|%+d|%x|%X|%o|%b|%c|%U\" 1 -42 42 3 255 255 8 5 65 65}}",
            "1|-0042|42   |+3|ff|FF|10|101|A|U+0041",
        ),
        (
            "{{printf \"%5.2f|%e|%g|%v\" 1.234 123456.789 1e-7 1e6}}",
            " 1.23|1.234568e+05|1e-07|1e+06",
        ),
        (
            "{{printf \"%t %v %T %%\" true .Config.Labels 1}}",
            "true map[a.b:x z:<1>] int %",
        ),
        (
            "{{printf \"%[2]d %[1]d\" 1 2}} {{printf \"%*d\" 3 1}}",
            "2 1   1",
        ),
        (
            "{{printf \"%d %s %z\" \"x\" 3 4}}",
            "%!d(string=x) %!s(int=3) %!z(int=4)",
        ),
        (
            "{{printf \"%s\"}} {{printf \"a\" 1}} {{printf \"%\"}}",
            "%!s(MISSING) a%!(EXTRA int=1) %!(NOVERB)",
        ),
        ("{{len (printf \"%99999999d\" 1)}}", "65535"),
    ]);
}

#[test]
fn an_unknown_field_is_told_with_those_there_are() {
    for (template, said) in [
        (
            "{{.Idd}}",
            "no field .Idd: the fields are Args, Config, HostConfig, Id,",
        ),
        (
            "{{.State.Code}}",
            "no field .State.Code: the fields are ExitCode, Paused, Running, Status",
        ),
        (
            "{{range .Mounts}}{{.From}}{{end}}",
            "no field .From: the fields are Source, Type",
        ),
        (
            "{{range .NetworkSettings.Networks}}{{.IP}}{{end}}",
            "no field .IP: the fields are IPAddress",
        ),
        ("{{.Name.x}}", ".Name has no fields in it, so no .x"),
        (
            "{{.State.Health.Status}}",
            ".State.Health is nothing here, so it has no .Status: write {{with .State.Health}}",
        ),
    ] {
        let error = render(template, &container()).unwrap_err();
        assert!(error.contains(said), "{template}: {error}");
    }
    assert!(
        render("{{.x}}", &json!({}))
            .unwrap_err()
            .contains("the fields are none")
    );
}

#[test]
fn what_is_wrong_is_told_by_name() {
    for (template, said) in [
        ("{{.X", "{{.X has no closing }}"),
        ("{{\"a}}", "has no closing \""),
        ("{{}}", "nothing to show"),
        ("{{.A..B}}", "parted by blanks"),
        ("{{json.Name}}", "write {{json .Name}}"),
        (
            "{{foo .Name}}",
            "no function foo: the functions are and, or,",
        ),
        ("{{$x}}", "no variable $x"),
        ("{{if .Name}}a", "{{if}} has no {{end}}"),
        ("{{end}}", "{{end}} without"),
        ("{{break}}", "outside of {{range}}"),
        ("{{define \"x\"}}{{end}}", "{{define}} is not supported"),
        (
            "{{.Config.Labels.a-b}}",
            "'-' cannot be in a name: write {{index .Labels",
        ),
        ("{{.Name \"x\"}}", ".Name takes no arguments"),
        ("{{eq .Name 3}}", "eq: \"/web\" and 3 cannot be compared"),
        ("{{index .Args 7}}", "no item 7 in a list of 2"),
        ("{{range .Name}}{{end}}", "range cannot go through \"/web\""),
        ("{{join .Name \",\"}}", "join: \"/web\" is no list"),
        ("{{pad .Name 1 99999999999}}", "pad adds 0 to"),
        ("{{len 3}}", "len: 3 has no length"),
        ("{{.Label \"a\"}}", "there are no labels here"),
    ] {
        let error = render(template, &container()).unwrap_err();
        assert!(
            error.starts_with("--format: ") && error.contains(said),
            "{template}: {error}"
        );
    }
    let deep = format!("{}1{}", "{{if 1}}".repeat(5000), "{{end}}".repeat(5000));
    assert!(render(&deep, &json!({})).unwrap_err().contains("deep"));
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(render(&deep, &json!({})).unwrap_err().contains("deep"));
}

#[test]
fn rows_have_labels_and_columns_have_heads() {
    let labels = [("com.x.the_project".to_owned(), "mine".to_owned())].into();
    let template =
        Template::parse("{{.ID}}\t{{json .Names}}\t{{.Label \"com.x.the_project\"}}").unwrap();
    let row = template.render_row(&json!({"ID": "1", "Names": "web"}), &labels);
    assert_eq!(row.unwrap(), "1\t\"web\"\tmine");
    let heads = template.headings(|name| format!("<{name}>"));
    assert_eq!(heads.unwrap(), "<ID>\t<Names>\tthe project");
    assert!(template.names("Names") && !template.names("Label2"));
    assert!(
        Template::parse("{{if gt (len .Size) 3}}{{end}}")
            .unwrap()
            .names("Size")
    );
}

proptest! {
    #[test]
    fn any_text_is_a_template_or_an_error(text in "[{}.a-cjson \\\\|]{0,30}") {
        let _ = render(&text, &json!({"a": {"b": 1}}));
    }

    #[test]
    fn any_words_are_a_template_or_an_error(words in proptest::collection::vec(
        prop::sample::select(vec![
            "{{", "}}", "{{- ", " -}}", "(", ")", "|", " ", ".", "$", "$x", ":=", "=", ",", ".Args",
            ".State", ".Name", ".Config.Labels", "if", "else", "end", "range", "with", "break", "index",
            "slice", "printf", "print", "eq", "lt", "len", "and", "or", "not", "join", "split", "truncate",
            "pad", "title", "html", "js", "urlquery", "json", "nil", "true", "\"%v %5.3d %[9]q %*x\"", "\"é\"",
            "'a'", "`b`", "0", "1", "-1", "9223372036854775807", "1.5", "/*", "*/", "é",
        ]), 0..40))
    {
        let _ = render(&words.concat(), &container());
        let _ = render(&words.join(" "), &container());
        if let Ok(template) = Template::parse(&words.join(" ")) {
            let _ = template.headings(str::to_owned);
        }
    }

    #[test]
    fn one_action_of_any_words_is_shown_or_an_error(words in proptest::collection::vec(
        prop::sample::select(vec![
            "index", "slice", "printf", "print", "eq", "lt", "len", "and", "or", "join", "split",
            "truncate", "pad", "title", "html", "js", "urlquery", ".Args", ".Name", ".State", ".",
            "\"%v|%-3d|%.2f|%q|%x|%c|%08.3e\"", "\"é\"", "0", "1", "2", "-1", "1.5", "nil", "|", "9223372036854775807",
        ]), 1..8))
    {
        let _ = render(&format!("{{{{{}}}}}", words.join(" ")), &container());
    }

    #[test]
    fn text_without_braces_comes_back(text in "[^{\\\\]{0,30}") {
        prop_assert_eq!(render(&text, &json!({})), Ok(text));
    }
}
