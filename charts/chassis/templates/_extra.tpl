{{- /* chassis.extraObjects: the objects of extraObjects, each an object or text, as templates */ -}}
{{- define "chassis.extraObjects" -}}
{{- range .Values.extraObjects }}
---
{{ tpl (kindIs "string" . | ternary . (toYaml .)) $ }}
{{- end }}
{{- end }}
