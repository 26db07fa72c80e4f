{{- /* chassis.test: the pod of `helm test`, which runs the chart's files/test.py in the service's image */ -}}
{{- define "chassis.test" -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "chassis.metadata" (list . "test" (printf "%s-test" (include "chassis.fullname" .))) | nindent 2 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
spec:
  restartPolicy: Never
  {{- include "chassis.pod" . | nindent 2 }}
  containers:
    - {{- include "chassis.container" (list . "test" (list "python" "-c" (.Files.Get "files/test.py")) .Values.job.resources) | nindent 6 }}
      env:
        - name: URL
          value: http://{{ include "chassis.fullname" . }}:{{ $facts.port }}
        {{- range $name, $value := include "chassis.settings" . | fromYaml }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        - name: API_KEY_FILE
          value: /etc/tandem/api-key
      volumeMounts:
        - {name: secrets, mountPath: /etc/tandem, readOnly: true}
  volumes:
    - name: secrets
      secret:
        secretName: {{ include "chassis.credentialsSecretName" . }}
        defaultMode: 0440
        items:
          - {key: api-key, path: api-key}
{{- end }}
