{{- /* chassis.notes: what an uninstall keeps */ -}}
{{- define "chassis.notes" }}
`helm -n {{ .Release.Namespace }} uninstall {{ .Release.Name }}` removes everything but the claims of the embedded databases and the Secrets
with their passwords: an install under the same name finds its data again. To remove these too:

  kubectl -n {{ .Release.Namespace }} delete pvc,secret -l app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=postgresql
{{- end }}
