# SPDX-License-Identifier: BSD-3-Clause
# Completion of pcap for bash. What may come next is for pcap itself to say.
_pcap()
{
	local line=${COMP_LINE:0:COMP_POINT}
	local word=${line##*[[:blank:]]}

	mapfile -t COMPREPLY < <("$1" complete -- "$line" 2>/dev/null)
	if [[ ${COMPREPLY[0]} == :files ]]; then
		COMPREPLY=()
		compopt -o default
		return
	fi
	[[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace
	# Bash takes a colon for the end of a word, unless it was told not to.
	if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then
		COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}")
	fi
}
complete -F _pcap pcap
