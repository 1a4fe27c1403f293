# Joins the lists that cyclonedx-gomod made of single programs, and leaves out what
# differs from one builder to the next.
def name: .metadata.properties[] | select(.name == "cdx:gomod:binary:name").value;
def refs: map(."bom-ref");
def licensed($id): . + {licenses: [{license: {id: $id}}]};

($licences | rtrimstr("\n") / "\n" | map(split(" ") | {key: .[0], value: .[1]}) | from_entries) as $id
| [inputs] as $lists
| ([$lists[].components[]] | unique_by(."bom-ref") | map(licensed($id[.name]))) as $modules
| {type: "application", version: $ENV.VERSION} as $ours
| ($lists | map($ours + {"bom-ref": name, name: name})) as $programs
| $lists[0]
| {"$schema", bomFormat, specVersion, version}
+ {
	metadata: {
		timestamp: ($ENV.SOURCE_DATE_EPOCH | tonumber | todate),
		component: ($ours + {"bom-ref": "release", name: "postseal"} | licensed("MIT")),
		properties: [{name: "postseal:os", value: $ENV.GOOS}, {name: "postseal:arch", value: $ENV.GOARCH}]
	},
	components: ($programs + $modules),
	dependencies: (
		[{ref: "release", dependsOn: ($programs | refs)}]
		+ ($lists | map({ref: name, dependsOn: (.components | refs)}))
		+ ($modules | map({ref: ."bom-ref"}))
	)
}
