#compdef {{.Name}}
# Completion of {{.Name}} for zsh. Load it with: source <({{.Name}} completion zsh)
_{{.Name}}() {
	local prev=$words[CURRENT-1] at= skip= word i
	local -a commands options
	if [[ $words[CURRENT] == --*=* ]]; then
		prev=${words[CURRENT]%%=*}
		compset -P '*='
	fi
	for ((i = 2; i < CURRENT; i++)); do
		word=$words[i]
		if [[ -n $skip ]]; then
			skip=
			continue
		fi
		case $word in
		({{join .Valued "|"}}) skip=1 ;;
		esac
		case "$at $word" in
{{- range .Nodes}}{{$at := .Path}}{{range .Commands}}
		('{{$at}} {{.Name}}') at='{{if $at}}{{$at}} {{end}}{{.Name}}' ;;
{{- end}}{{end}}
		esac
	done
	case $prev in
{{- range .Flags}}
{{- if eq .Kind "words"}}
	({{join .Options "|"}}) compadd -- {{join .Words " "}}; return ;;
{{- else if eq .Kind "files"}}
	({{join .Options "|"}}) _files; return ;;
{{- else if eq .Kind "dirs"}}
	({{join .Options "|"}}) _files -/; return ;;
{{- else if eq .Kind "any"}}
	({{join .Options "|"}}) return 1 ;;
{{- end}}{{end}}
	esac
	case $at in
{{- range .Nodes}}
	('{{.Path}}')
		commands=({{range .Commands}}
			{{zsh .Name .Help}}{{end}}
		)
		options=({{range .Flags}}{{$help := .Help}}{{range .Options}}
			{{zsh . $help}}{{end}}{{end}}
		) ;;
{{- end}}
	esac
	(($#commands)) && _describe command commands
	_describe -o option options
}
if [[ $funcstack[1] == _{{.Name}} ]]; then
	_{{.Name}} "$@"
else
	compdef _{{.Name}} {{.Name}}
fi
