{{- /* chassis.test: the pod of `helm test`, which runs the chart's files/test.py in the service's image */ -}}
{{- define "chassis.test" -}}
{{- $spec := include "chassis.testSpec" . -}}
{{- $annotations := dict "helm.sh/hook" "test" "helm.sh/hook-output-log-policy" "hook-failed"
      "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded,hook-failed" -}}
{{- /* Named by its content, because `kubectl apply` cannot change a pod. */ -}}
{{- $name := printf "%s-test-%s" (include "chassis.fullname" .) (sha256sum $spec | trunc 8) -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "chassis.metadata" (list . "test" $name dict $annotations) | nindent 2 }}
spec:
  {{- $spec | nindent 2 }}
{{- end }}

{{- /* chassis.testSpec: the spec of that pod */ -}}
{{- define "chassis.testSpec" -}}
restartPolicy: Never
{{ include "chassis.pod" . }}
containers:
  - {{- include "chassis.container" (list . "test" (list "python" "-c" (.Files.Get "files/test.py")) .Values.job.resources) | nindent 4 }}
    env:
      - name: URL
        value: http://{{ include "chassis.fullname" . }}:{{ (include "chassis.facts" . | fromYaml).port }}
      {{- range $name, $value := omit (include "chassis.settings" . | fromYaml) "URL" "API_KEY_FILE" }}
      - name: {{ $name | quote }}
        value: {{ $value | quote }}
      {{- end }}
      - name: API_KEY_FILE
        value: /etc/tandem/api-key
    volumeMounts:
      - {name: secrets, mountPath: /etc/tandem, readOnly: true}
volumes:
  - name: secrets
    secret:
      secretName: {{ include "chassis.credentialsSecretName" . | quote }}
      defaultMode: 0440
      items:
        - {key: api-key, path: api-key}
{{- end }}
