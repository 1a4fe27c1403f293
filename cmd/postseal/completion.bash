# Completion of {{.Name}} for bash. Load it with: source <({{.Name}} completion bash)
_{{.Name}}() {
	local IFS=$'\n' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= skip= words= word i
	# Bash takes --flag=value apart.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $skip ]]; then
			skip=
			continue
		fi
		case $word in
		{{join .Valued "|"}}) skip=1 ;;
		esac
		case "$at $word" in
{{- range .Nodes}}{{$at := .Path}}{{range .Commands}}
		'{{$at}} {{.Name}}') at='{{if $at}}{{$at}} {{end}}{{.Name}}' ;;
{{- end}}{{end}}
		esac
	done
	COMPREPLY=()
	case $prev in
{{- range .Flags}}
{{- if eq .Kind "words"}}
	{{join .Options "|"}}) words={{quote (join .Words " ")}} ;;
{{- else if eq .Kind "files"}}
	{{join .Options "|"}})
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$cur"))
		return ;;
{{- else if eq .Kind "dirs"}}
	{{join .Options "|"}})
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -d -- "$cur"))
		return ;;
{{- else if eq .Kind "any"}}
	{{join .Options "|"}}) return ;;
{{- end}}{{end}}
	*)
		case $at in
{{- range .Nodes}}
		'{{.Path}}') words='{{range .Commands}}{{.Name}} {{end}}{{range .Flags}}{{join .Options " "}} {{end}}' ;;
{{- end}}
		esac ;;
	esac
	COMPREPLY=($(compgen -W "${words// /$'\n'}" -- "$cur"))
}
complete -F _{{.Name}} {{.Name}}
