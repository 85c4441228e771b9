//! The table against the list of upstream's tools and arguments.

use super::*;

/// As UPSTREAM.md, section 5, has them: `name(arguments)`, `*` for what is required. Left out is `autopilot_*`,
/// which concerns the editor's machine.
const UPSTREAM: &str = "\
initialize_project(skipInstall addAliases initGit storeTasksInGit yes rules) \
models(setMain setResearch setFallback listAvailableModels openrouter ollama bedrock azure vertex openai-compatible baseURL) \
rules(action* profiles* force) \
response-language(language*) \
parse_prd(input output numTasks force research append) \
analyze_project_complexity(threshold research output ids from to) \
expand_task(id* num research prompt force) \
expand_all(num research prompt force) \
scope_up_task(id* strength prompt research) \
scope_down_task(id* strength prompt research) \
get_tasks(status withSubtasks) \
get_task(id* status) \
next_task(complexityReport) \
complexity_report() \
set_task_status(id* status*) \
add_task(prompt title description details testStrategy dependencies priority research) \
add_subtask(id* taskId title description details status dependencies skipGenerate) \
update(from* prompt* research) \
update_task(id* prompt research append metadata) \
update_subtask(id* prompt research metadata) \
remove_task(id* confirm) \
remove_subtask(id* convert skipGenerate) \
clear_subtasks(id all) \
move_task(from* to fromTag toTag withDependencies ignoreDependencies) \
add_dependency(id* dependsOn*) \
remove_dependency(id* dependsOn*) \
validate_dependencies() \
fix_dependencies() \
list_tags(showMetadata) \
add_tag(name* copyFromCurrent copyFromTag fromBranch description) \
delete_tag(name* yes) \
use_tag(name*) \
rename_tag(oldName* newName*) \
copy_tag(sourceName* targetName* description) \
generate(output) \
research(query* taskIds filePaths customContext includeProjectTree detailLevel saveTo saveToFile)";

#[test]
fn every_tool_of_upstream_is_here_with_its_arguments() {
    for tool in UPSTREAM.split(") ") {
        let (name, arguments) = tool.split_once('(').unwrap();
        let entry = TOOLS.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name}"));
        let schema = entry.input_schema();
        let required: Vec<&str> = entry.required().map(|argument| argument.name).collect();
        let mut wanted = Vec::new();
        for argument in arguments.trim_end_matches(')').split_whitespace().chain(["projectRoot", "tag", "file"]) {
            let plain = argument.trim_end_matches('*');
            assert!(schema["properties"].get(plain).is_some(), "{name}: {plain}");
            wanted.extend(argument.ends_with('*').then_some(plain));
        }
        assert_eq!(required, wanted, "{name}");
    }
}

#[test]
fn names_are_there_once_and_texts_are_whole() {
    let mut names: Vec<&str> = TOOLS.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TOOLS.len());
    for entry in TOOLS {
        assert!(entry.about.ends_with('.'), "{}", entry.name);
        let mut arguments: Vec<&str> = entry.arguments().map(|argument| argument.name).collect();
        let count = arguments.len();
        arguments.sort_unstable();
        arguments.dedup();
        assert_eq!(arguments.len(), count, "{}", entry.name);
    }
}

#[test]
fn sets_hold_what_an_agent_needs_at_least() {
    let names = |text: &str| Tools::read(text).all().map(|entry| entry.name).collect::<Vec<_>>();
    let core = [
        "parse_prd",
        "expand_task",
        "update_subtask",
        "get_tasks",
        "get_task",
        "next_task",
        "job_status",
        "set_task_status",
    ];
    assert_eq!(names("core"), core);
    assert!(names("standard").len() > core.len() && names("standard").len() < names("all").len());
    assert_eq!(names("all").len(), TOOLS.len());
    assert_eq!(names("next_task, get_task"), ["get_task", "next_task"]);
    assert_eq!(names("nonsense").len(), TOOLS.len());
}
