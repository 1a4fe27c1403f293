# Completion of {{.Name}} for fish. Load it with: {{.Name}} completion fish | source
function __{{.Name}}_at
	set -l at ''
	set -l skip ''
	for word in (commandline -opc)[2..-1]
		if test -n "$skip"
			set skip ''
			continue
		end
		switch $word
			case {{join .Valued " "}}
				set skip 1
		end
		switch "$at $word"
{{- range .Nodes}}{{$at := .Path}}{{range .Commands}}
			case '{{$at}} {{.Name}}'
				set at '{{if $at}}{{$at}} {{end}}{{.Name}}'
{{- end}}{{end}}
		end
	end
	test "$at" = "$argv[1]"
end
complete -c {{.Name}} -f
{{- $name := .Name}}
{{- range .Nodes}}{{$at := printf "__%s_at \"%s\"" $name .Path}}
{{- range .Commands}}
complete -c {{$name}} -n '{{$at}}' -a {{.Name}} -d {{quote .Help}}
{{- end}}
{{- range .Flags}}
complete -c {{$name}} -n '{{$at}}' -l {{.Name}}{{with .Short}} -s {{.}}{{end}}
{{- if eq .Kind "words"}} -x -a {{quote (join .Words " ")}}
{{- else if eq .Kind "files"}} -r -F
{{- else if eq .Kind "dirs"}} -x -a '(__fish_complete_directories)'
{{- else if eq .Kind "any"}} -x
{{- end}} -d {{quote .Help}}
{{- end}}
{{- end}}
