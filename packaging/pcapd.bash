# SPDX-License-Identifier: BSD-3-Clause
# Completion of pcapd for bash: its verbs, and the options of its help.
_pcapd()
{
	local words="check repair reindex tls"

	case ${COMP_WORDS[COMP_CWORD]} in
	-*) words=$("$1" --help 2>/dev/null | grep -o -e '--[a-z-]*') ;;
	esac
	[[ ${COMP_WORDS[COMP_CWORD-1]} == tls ]] &&
		words="init issue allow list revoke"
	[[ ${COMP_WORDS[COMP_CWORD-1]} == -* ]] && words=
	mapfile -t COMPREPLY < <(
		compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _pcapd pcapd
